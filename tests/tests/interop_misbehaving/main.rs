//! The probe against a server that breaks the protocol, over a real connection: what the application
//! sees of its call, and that another call on the same tunnel is touched only where the tunnel ends.

mod script;

use clap::Parser as _;
use grpctunnel_tests::interop::Outcome;
use grpctunnel_tests::interop::probe::{Args, Outcome as Bystander, Stage, run};
use tonic::Code;

/// What becomes of the probe's call and of its bystander when the server plays this case.
async fn seen(case: &str, arguments: &[&str]) -> Outcome<(Code, Stage, Bystander)> {
    let address = script::serve().await?;
    let fixed = ["interop-probe", "--connect", &address, "--case", case];
    let args = Args::try_parse_from(fixed.iter().chain(arguments))?;
    let (report, _tunnel) = run(&args).await;
    println!("{case}: {report}");
    Ok((report.code, report.stage, report.bystander))
}

/// The call fails, and nothing else.
async fn call_fails(case: &str, code: Code) -> Outcome {
    let expected = (code, Stage::Call, Bystander::Ok);
    assert_eq!(seen(case, &[]).await?, expected, "{case}");
    Ok(())
}

/// The tunnel ends, and every call on it.
async fn tunnel_fails(case: &str) -> Outcome {
    let expected = (Code::Unavailable, Stage::Call, Bystander::Fail);
    assert_eq!(seen(case, &[]).await?, expected, "{case}");
    Ok(())
}

/// The tunnel is not opened.
async fn opening_fails(case: &str, code: Code) -> Outcome {
    let expected = (code, Stage::Open, Bystander::None);
    assert_eq!(seen(case, &[]).await?, expected, "{case}");
    Ok(())
}

#[tokio::test]
async fn an_honest_answer_is_delivered() -> Outcome {
    for case in [
        "honest",
        "honest-without-headers",
        "honest-before-half-close",
    ] {
        let expected = (Code::Ok, Stage::Call, Bystander::Ok);
        assert_eq!(seen(case, &[]).await?, expected, "{case}");
        assert_eq!(
            seen(case, &["--payload", "300000"]).await?,
            expected,
            "{case}, large"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_status_arrives_as_it_was_sent() -> Outcome {
    call_fails("not-found", Code::NotFound).await?;
    call_fails("message-then-not-found", Code::NotFound).await?;
    call_fails("code-99", Code::Unknown).await
}

#[tokio::test]
async fn wrong_numbers_of_messages_fail_the_call() -> Outcome {
    call_fails("no-message", Code::Internal).await?;
    call_fails("two-messages", Code::Internal).await
}

#[tokio::test]
async fn broken_messages_fail_the_call() -> Outcome {
    call_fails("truncated", Code::Internal).await?;
    call_fails("more-than-said", Code::Internal).await?;
    call_fails("chunk-without-envelope", Code::Internal).await?;
    call_fails("envelope-in-a-message", Code::Internal).await?;
    call_fails("unparsable", Code::Internal).await
}

#[tokio::test]
async fn too_much_fails_the_call() -> Outcome {
    call_fails("beyond-the-window", Code::ResourceExhausted).await?;
    call_fails("four-gibibytes", Code::ResourceExhausted).await?;
    call_fails("window-overflow", Code::Internal).await
}

#[tokio::test]
async fn frames_without_sense_fail_the_call() -> Outcome {
    call_fails("no-member", Code::Internal).await?;
    call_fails("settings-on-the-stream", Code::Internal).await?;
    call_fails("header-not-utf8", Code::Internal).await
}

#[tokio::test]
async fn frames_that_mean_nothing_are_ignored() -> Outcome {
    for case in [
        "headers-twice",
        "close-twice",
        "window-update-of-zero",
        "frames-of-no-stream",
    ] {
        let expected = (Code::Ok, Stage::Call, Bystander::Ok);
        assert_eq!(seen(case, &[]).await?, expected, "{case}");
    }
    Ok(())
}

#[tokio::test]
async fn what_breaks_the_tunnel_ends_every_call_on_it() -> Outcome {
    tunnel_fails("stream-never-created").await?;
    tunnel_fails("undecodable").await?;
    tunnel_fails("finish").await?;
    tunnel_fails("finish-with-an-error").await?;
    tunnel_fails("reset").await
}

#[tokio::test]
async fn a_deadline_passes_whatever_the_server_does() -> Outcome {
    let arguments = ["--deadline-ms", "200"];
    for case in ["silent", "headers-only", "half-a-message"] {
        let expected = (Code::DeadlineExceeded, Stage::Call, Bystander::Ok);
        assert_eq!(seen(case, &arguments).await?, expected, "{case}");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_without_a_deadline_waits_for_the_guard() -> Outcome {
    let expected = (Code::DeadlineExceeded, Stage::Guard, Bystander::Ok);
    assert_eq!(seen("silent", &["--guard-ms", "500"]).await?, expected);
    Ok(())
}

#[tokio::test]
async fn an_opening_that_goes_wrong_fails_as_such() -> Outcome {
    opening_fails("open-unimplemented", Code::Unimplemented).await?;
    opening_fails("open-denied", Code::PermissionDenied).await?;
    opening_fails("open-headers-first", Code::Internal).await?;
    opening_fails("open-unknown-revision", Code::FailedPrecondition).await?;
    opening_fails("open-finish", Code::Unavailable).await?;
    opening_fails("open-reset", Code::Unavailable).await
}

#[tokio::test]
async fn a_server_without_negotiation_is_of_revision_zero() -> Outcome {
    let expected = (Code::Ok, Stage::Call, Bystander::Ok);
    assert_eq!(seen("honest-revision-zero", &[]).await?, expected);
    Ok(())
}
