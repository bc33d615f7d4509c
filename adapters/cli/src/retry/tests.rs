//! What is made again, and what is not.

use super::*;

const PATH: &str = "/shop.Cart/Add";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    });
    pairs.collect()
}

fn retries(policies: &[&str]) -> Retries {
    let parsed = policies.iter().map(|policy| policy.parse().unwrap());
    Retries::new(parsed.collect())
}

fn unavailable() -> HeaderMap {
    headers(&[("grpc-status", "14")])
}

#[test]
fn a_call_is_made_again_as_often_as_allowed_and_says_so() {
    let (retries, now) = (
        retries(&["shop codes=UNAVAILABLE attempts=3 backoff=100ms"]),
        Instant::now(),
    );
    assert!(
        retries
            .of("/other.Cart/Add", &HeaderMap::new(), now)
            .is_none()
    );
    let mut retry = retries.of(PATH, &HeaderMap::new(), now).unwrap();
    for (attempts, least) in [(None, Some(80)), (Some("1"), Some(160)), (Some("2"), None)] {
        let mut head = HeaderMap::new();
        retry.begin(&mut head, now);
        let said = head.get(ATTEMPTS).map(|value| value.to_str().unwrap());
        assert_eq!(said, attempts);
        let pause = retry.pause(&unavailable(), true, now);
        assert_eq!(pause.is_some(), least.is_some());
        if let Some((pause, least)) = pause.zip(least) {
            let range = Duration::from_millis(least)..=Duration::from_millis(least * 3 / 2);
            assert!(range.contains(&pause), "{pause:?}");
        }
    }
}

#[test]
fn only_a_failure_that_is_named_is_tried_again_and_only_what_can_be_sent_again() {
    let (retries, now) = (retries(&["* codes=UNAVAILABLE,ABORTED"]), Instant::now());
    for (answer, is_whole, again) in [
        (unavailable(), true, true),
        (headers(&[("grpc-status", "10")]), true, true),
        (unavailable(), false, false),
        (headers(&[("grpc-status", "0")]), true, false),
        (headers(&[("grpc-status", "5")]), true, false),
        // Messages follow: the caller sees them, and nothing is made again.
        (HeaderMap::new(), true, false),
    ] {
        let mut retry = retries.of(PATH, &HeaderMap::new(), now).unwrap();
        retry.begin(&mut HeaderMap::new(), now);
        let pause = retry.pause(&answer, is_whole, now);
        assert_eq!(pause.is_some(), again, "{answer:?}");
    }
}

#[test]
fn the_server_has_the_last_word_about_when() {
    let (retries, now) = (retries(&["* codes=UNAVAILABLE"]), Instant::now());
    for (said, pause) in [
        ("0", Some(Duration::ZERO)),
        ("2500", Some(Duration::from_millis(2_500))),
        ("-1", None),
        ("soon", None),
    ] {
        let answer = headers(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", said)]);
        let mut retry = retries.of(PATH, &HeaderMap::new(), now).unwrap();
        retry.begin(&mut HeaderMap::new(), now);
        assert_eq!(retry.pause(&answer, true, now), pause, "{said}");
    }
}

#[test]
fn the_budget_of_a_policy_ends_its_retries_and_successes_refill_it() {
    let (retries, now) = (
        retries(&[
            "* codes=UNAVAILABLE tokens=4 token-ratio=0.5",
            "shop codes=UNAVAILABLE",
        ]),
        Instant::now(),
    );
    let again = |path, answer: &HeaderMap| {
        let mut retry = retries.of(path, &HeaderMap::new(), now).unwrap();
        retry.begin(&mut HeaderMap::new(), now);
        retry.pause(answer, true, now).is_some()
    };
    let other = "/other.Cart/Add";
    assert!(again(other, &unavailable()));
    assert!(!again(other, &unavailable()), "half of four is left");
    assert!(again(PATH, &unavailable()), "another policy");
    for _ in 0..3 {
        assert!(!again(other, &HeaderMap::new()));
    }
    assert!(again(other, &unavailable()), "2 + 3 * 0.5 - 1");
}

#[test]
fn a_deadline_goes_on_and_no_pause_outlasts_it() {
    let (retries, now) = (
        retries(&["* codes=UNAVAILABLE attempts=5 backoff=1s"]),
        Instant::now(),
    );
    let mut retry = retries
        .of(PATH, &headers(&[("grpc-timeout", "3S")]), now)
        .unwrap();
    retry.begin(&mut HeaderMap::new(), now);
    assert!(retry.pause(&unavailable(), true, now).is_some());
    let later = now + Duration::from_millis(2_500);
    let mut head = headers(&[("grpc-timeout", "3S")]);
    retry.begin(&mut head, later);
    assert_eq!(timeout(&head), Some(Duration::from_millis(500)));
    assert_eq!(retry.pause(&unavailable(), true, later), None);
}

#[test]
fn timeouts_are_written_as_grpc_wants_them() {
    for (left, text) in [
        (Duration::ZERO, "0n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_millis(100), "100000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(1 << 40), "99999999S"),
    ] {
        assert_eq!(timeout_of(left), text);
    }
}
