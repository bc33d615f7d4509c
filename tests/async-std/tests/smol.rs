//! The adapters' suite on smol.

grpctunnel_tests::adapter_suite!(grpctunnel_async_std_tests::OnSmol);
