//! Request bodies that can be sent again, as long as their beginning is kept.

use bytes::Bytes;
use futures_util::stream::{Iter, iter};
use grpctunnel_driver::{Attempt, RetryBody};
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};

const LIMIT: usize = 64 << 10;
/// What the record of a frame takes beside its bytes.
const FRAME: usize = size_of::<Bytes>();

type Frames = StreamBody<Iter<std::vec::IntoIter<Result<Frame<Bytes>, String>>>>;

fn body(sizes: &[usize], then: Option<&str>) -> Frames {
    let data = |size: &usize| Ok(Frame::data(Bytes::from(vec![7; *size])));
    let mut frames: Vec<_> = sizes.iter().map(data).collect();
    frames.extend(then.map(|error| Err(error.to_owned())));
    StreamBody::new(iter(frames))
}

/// How much comes out of an attempt.
fn sent(mut attempt: Attempt<Frames>) -> Result<usize, String> {
    smol::block_on(async {
        let mut sent = 0;
        while let Some(frame) = attempt.frame().await {
            sent += frame?.into_data().map_or(0, |data| data.len());
        }
        Ok(sent)
    })
}

fn one_frame(attempt: &mut Attempt<Frames>) -> Option<usize> {
    let frame = smol::block_on(attempt.frame())?;
    Some(frame.ok()?.into_data().ok()?.len())
}

#[test]
fn a_short_request_is_sent_whole_each_time() {
    let retry = RetryBody::new(body(&[5, 0, 100], None));
    assert!(!retry.was_polled());
    // An attempt that ends in the middle takes nothing from the next one.
    let mut first = retry.attempt();
    assert_eq!(one_frame(&mut first), Some(5));
    assert!(retry.was_polled());
    drop(first);
    for _ in 0..2 {
        assert_eq!(sent(retry.attempt()), Ok(105));
        assert!(retry.is_whole());
    }
    assert_eq!(one_frame(&mut retry.attempt()), Some(5));
}

#[test]
fn a_long_request_is_sent_once() {
    for (sizes, whole) in [
        (vec![LIMIT - FRAME], true),
        (vec![LIMIT - FRAME + 1, 3], false),
        // Small frames take more than their bytes.
        (vec![1; LIMIT / (FRAME + 1)], true),
        (vec![1; LIMIT / (FRAME + 1) + 1], false),
    ] {
        let retry = RetryBody::new(body(&sizes, None));
        assert_eq!(sent(retry.attempt()), Ok(sizes.iter().sum()));
        assert_eq!(retry.is_whole(), whole);
    }
}

#[test]
fn a_request_that_grows_too_long_at_its_second_attempt_is_sent_to_its_end() {
    let retry = RetryBody::new(body(&[10, LIMIT, 3], None));
    assert_eq!(one_frame(&mut retry.attempt()), Some(10));
    assert!(retry.is_whole());
    assert_eq!(sent(retry.attempt()), Ok(LIMIT + 13));
    assert!(!retry.is_whole());
}

#[test]
fn a_request_that_broke_is_not_whole() {
    let retry = RetryBody::new(body(&[5], Some("broken")));
    assert_eq!(sent(retry.attempt()), Err("broken".to_owned()));
    assert!(!retry.is_whole());
}

#[test]
fn a_request_with_trailers_is_not_whole() {
    let frames = vec![Ok(Frame::trailers(HeaderMap::new()))];
    let retry = RetryBody::new(StreamBody::new(iter(frames)));
    assert_eq!(sent(retry.attempt()), Ok(0));
    assert!(!retry.is_whole());
}

#[test]
fn nothing_is_kept_once_there_is_a_response() {
    let message = Bytes::from(vec![1, 2, 3]);
    let frames = vec![
        Ok(Frame::data(message.clone())),
        Ok(Frame::data(message.clone())),
    ];
    let retry = RetryBody::new(StreamBody::new(iter(frames)));
    let mut attempt = retry.attempt();
    assert_eq!(one_frame(&mut attempt), Some(3));
    assert_eq!(one_frame(&mut attempt), Some(3));
    drop(attempt);
    // The second attempt has sent one of two when the response begins.
    let mut attempt = retry.attempt();
    assert_eq!(one_frame(&mut attempt), Some(3));
    drop(retry);
    assert!(!message.is_unique());
    assert_eq!(one_frame(&mut attempt), Some(3));
    assert!(message.is_unique());
    assert_eq!(one_frame(&mut attempt), None);
}

#[test]
fn the_size_of_an_attempt_is_known_as_far_as_that_of_the_body() {
    let retry = RetryBody::new(Full::new(Bytes::from_static(b"abc")));
    assert_eq!(retry.attempt().size_hint().exact(), Some(3));
    assert!(!retry.attempt().is_end_stream());
    for _ in 0..2 {
        let mut attempt = retry.attempt();
        assert_eq!(attempt.size_hint().exact(), Some(3));
        assert!(smol::block_on(attempt.frame()).is_some());
        assert_eq!(attempt.size_hint().exact(), Some(0));
        assert!(attempt.is_end_stream());
    }
    let empty = RetryBody::new(Full::new(Bytes::new()));
    assert!(empty.attempt().is_end_stream());
}
