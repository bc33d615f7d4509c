//! The adapters' suite on async-std.

grpctunnel_tests::adapter_suite!(grpctunnel_async_std_tests::OnAsyncStd);
