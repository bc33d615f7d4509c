//! Connections that delay, split, stall and break.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use grpctunnel_driver::{BoxError, TransmitBody, TunnelService};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

use super::calls::SimHandler;
use super::executor::{Sim, Sleeping};
use super::script::Setting;

/// How a connection carries bytes.
#[derive(Clone, Copy, Debug)]
struct Quality {
    delay: (u64, u64),
    capacity: usize,
    piece: usize,
}

#[derive(Debug)]
enum Item {
    Data(Bytes),
    Trailers(HeaderMap),
    /// `true`: it ended well.
    End(bool),
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    items: VecDeque<(Duration, Item)>,
    /// Bytes in `items`.
    bytes: usize,
    /// The last item arrives then; the next one not before.
    last: Duration,
    stalled_until: Duration,
    cut: bool,
    /// Its reader is gone.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) -> impl Iterator<Item = Waker> + use<> {
        [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
    }

    /// Loses all but the first bytes that are on their way.
    fn lose_tail(&mut self, kept: usize) {
        let mut left = kept;
        let mut items = VecDeque::new();
        for (at, item) in self.items.drain(..) {
            match item {
                Item::Data(mut bytes) if left > 0 => {
                    bytes.truncate(left);
                    left -= bytes.len();
                    items.push_back((at, Item::Data(bytes)));
                }
                _ => break,
            }
        }
        self.items = items;
        self.bytes = kept - left;
    }
}

type SharedPipe = Arc<Mutex<Pipe>>;

fn lock(pipe: &SharedPipe) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection.
#[derive(Clone)]
pub(super) struct Link {
    sim: Sim,
    quality: Quality,
    /// To the end that accepts, and back.
    pipes: [SharedPipe; 2],
}

impl Link {
    pub(super) fn new(sim: &Sim, setting: &Setting) -> Self {
        Self {
            sim: sim.clone(),
            quality: Quality {
                delay: setting.delay,
                capacity: setting.capacity,
                piece: setting.piece,
            },
            pipes: [Arc::default(), Arc::default()],
        }
    }

    /// Breaks it, and loses what is on its way from any byte on.
    pub(super) fn cut(&self) {
        for pipe in &self.pipes {
            let kept = self.sim.below(lock(pipe).bytes as u64 + 1);
            let wakers = {
                let mut pipe = lock(pipe);
                pipe.cut = true;
                pipe.lose_tail(usize::try_from(kept).unwrap_or(0));
                pipe.wake()
            };
            wakers.for_each(Waker::wake);
        }
    }

    pub(super) fn stall(&self, millis: u16) {
        let until = self.sim.now() + Duration::from_millis(millis.into());
        for pipe in &self.pipes {
            lock(pipe).stalled_until = until;
        }
    }

    /// Whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        self.pipes.iter().all(|pipe| {
            let pipe = lock(pipe);
            pipe.cut || pipe.unread
        })
    }

    /// Carries a body until it ends, the connection breaks or nobody reads.
    async fn carry<B>(self, to: usize, body: B)
    where
        B: Body<Data: Buf, Error: Into<BoxError>>,
    {
        let [forth, back] = &self.pipes;
        let pipe = if to == 0 { forth } else { back };
        let mut body = pin!(body);
        loop {
            let capacity = self.quality.capacity;
            let goes_on = poll_fn(|cx| {
                let mut pipe = lock(pipe);
                if pipe.cut || pipe.unread {
                    return Poll::Ready(false);
                }
                pipe.writer = Some(cx.waker().clone());
                if pipe.bytes < capacity {
                    Poll::Ready(true)
                } else {
                    Poll::Pending
                }
            });
            if !goes_on.await {
                return;
            }
            let broken = pin!(poll_fn(|cx| {
                let mut pipe = lock(pipe);
                if pipe.cut || pipe.unread {
                    return Poll::Ready(());
                }
                pipe.writer = Some(cx.waker().clone());
                Poll::Pending
            }));
            let frame = pin!(poll_fn(|cx| body.as_mut().poll_frame(cx)));
            let item = match select(broken, frame).await {
                Either::Left(_) => return,
                Either::Right((None, _)) => Item::End(true),
                Either::Right((Some(Err(_)), _)) => Item::End(false),
                Either::Right((Some(Ok(frame)), _)) => match frame.into_data() {
                    Ok(mut data) => Item::Data(data.copy_to_bytes(data.remaining())),
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => Item::Trailers(trailers),
                        Err(_) => continue,
                    },
                },
            };
            let is_end = matches!(item, Item::End(_));
            self.put(pipe, item);
            if is_end {
                return;
            }
        }
    }

    /// When something that leaves now arrives.
    fn arrival(&self) -> Duration {
        let (least, more) = self.quality.delay;
        self.sim.now() + Duration::from_micros(least + self.sim.below(more))
    }

    fn put(&self, pipe: &SharedPipe, item: Item) {
        let pieces = match item {
            Item::Data(mut bytes) => {
                let mut pieces = Vec::new();
                while !bytes.is_empty() {
                    let most = self.quality.piece.min(bytes.len()).max(bytes.len() / 64);
                    let len = 1 + self.sim.below(most as u64);
                    let len = usize::try_from(len).unwrap_or(1).min(bytes.len());
                    pieces.push((self.arrival(), Item::Data(bytes.split_to(len))));
                }
                pieces
            }
            other => vec![(self.arrival(), other)],
        };
        let waker = {
            let mut pipe = lock(pipe);
            for (at, item) in pieces {
                if let Item::Data(bytes) = &item {
                    pipe.bytes += bytes.len();
                }
                pipe.last = pipe.last.max(at);
                let at = pipe.last;
                pipe.items.push_back((at, item));
            }
            pipe.reader.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn body(&self, to: usize, reset: ResetOnDrop) -> PipeBody {
        let [forth, back] = &self.pipes;
        PipeBody {
            sim: self.sim.clone(),
            pipe: if to == 0 { forth } else { back }.clone(),
            sleep: None,
            ended: false,
            reset,
        }
    }

    fn is_cut(&self) -> bool {
        self.pipes.iter().any(|pipe| lock(pipe).cut)
    }

    async fn open(
        self,
        request: Request<TransmitBody>,
        mut gateway: TunnelService<SimHandler>,
    ) -> Result<Response<PipeBody>, BoxError> {
        let reset = ResetOnDrop(Some(self.clone()));
        let (head, body) = request.into_parts();
        self.sim.spawn(self.clone().carry(0, body));
        self.sim.until(self.arrival()).await;
        if self.is_cut() {
            return Err("the connection broke".into());
        }
        let request = Request::from_parts(head, self.body(0, ResetOnDrop(None)));
        let response = match gateway.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        self.sim.spawn(self.clone().carry(1, body));
        self.sim.until(self.arrival()).await;
        if self.is_cut() {
            return Err("the connection broke".into());
        }
        Ok(Response::from_parts(head, self.body(1, reset)))
    }
}

/// Resets a stream, in both directions, whose opener has no use for it any more.
struct ResetOnDrop(Option<Link>);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            link.cut();
        }
    }
}

/// What comes out of a connection.
pub(super) struct PipeBody {
    sim: Sim,
    pipe: SharedPipe,
    sleep: Option<Sleeping>,
    ended: bool,
    reset: ResetOnDrop,
}

impl Body for PipeBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let now = this.sim.now();
            let mut pipe = lock(&this.pipe);
            let due = match pipe.items.front() {
                Some((at, _)) => (*at).max(pipe.stalled_until),
                None if pipe.cut => {
                    this.ended = true;
                    return Poll::Ready(Some(Err("the connection broke".into())));
                }
                None => {
                    pipe.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            if due <= now {
                let item = pipe.items.pop_front();
                let writer = pipe.writer.take();
                if let Some((_, Item::Data(bytes))) = &item {
                    pipe.bytes = pipe.bytes.saturating_sub(bytes.len());
                }
                drop(pipe);
                writer.into_iter().for_each(Waker::wake);
                return match item {
                    Some((_, Item::Data(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Some((_, Item::Trailers(trailers))) => {
                        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                    }
                    Some((_, Item::End(well))) => {
                        this.ended = true;
                        let error = || Err("the other end reset the stream".into());
                        Poll::Ready((!well).then(error))
                    }
                    None => continue,
                };
            }
            pipe.reader = Some(cx.waker().clone());
            drop(pipe);
            let mut sleep = this.sim.until(due);
            let slept = Pin::new(&mut sleep).poll(cx);
            this.sleep = Some(sleep);
            if slept.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for PipeBody {
    fn drop(&mut self) {
        if self.ended {
            // What the opener still sends is taken.
            self.reset.0 = None;
        }
        let wakers = {
            let mut pipe = lock(&self.pipe);
            pipe.unread = true;
            pipe.items.clear();
            pipe.bytes = 0;
            pipe.wake()
        };
        wakers.for_each(Waker::wake);
    }
}

/// The end of a connection that opens a tunnel.
pub(super) struct Carrier {
    pub(super) link: Link,
    pub(super) gateway: TunnelService<SimHandler>,
}

impl Service<Request<TransmitBody>> for Carrier {
    type Response = Response<PipeBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<PipeBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<TransmitBody>) -> Self::Future {
        Box::pin(self.link.clone().open(request, self.gateway.clone()))
    }
}
