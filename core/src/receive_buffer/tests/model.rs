//! Any interleaving of a buffer's methods, against a list of lists.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// At most `len` bytes of the message that is arriving, or of a new one with `envelope`.
    Push {
        len: u32,
        envelope: Envelope,
    },
    PollRead,
    PollMessage,
    Consume(usize),
    Read(usize),
    /// Reads whole messages until there is none.
    DrainMessages,
    /// Cuts through all that is here.
    DrainRead,
    Finish(Unread),
}

/// A message as the reader has it before it.
#[derive(Debug)]
struct Message {
    envelope: Envelope,
    missing: u32,
    unread: Vec<u8>,
    begun: bool,
    /// As a whole message.
    shown: bool,
}

impl Message {
    fn is_over(&self) -> bool {
        self.begun && self.missing == 0 && self.unread.is_empty()
    }
}

#[derive(Debug, Default)]
struct Model {
    messages: VecDeque<Message>,
    terminal: Option<u8>,
    finished: bool,
    next_byte: u8,
    finishes: u8,
    /// Bytes pushed, taken and thrown away.
    pushed: u64,
    taken: u64,
    thrown: u64,
}

/// What a poll returned, without borrowing.
#[derive(Debug, PartialEq, Eq)]
enum Polled {
    Begin(Envelope),
    Data(Vec<u8>),
    End,
    Message(Envelope, Vec<u8>),
    Terminal(u8),
    Pending,
    Done,
}

fn poll_read<S: Store>(buffer: &mut ReceiveBuffer<S, u8>) -> Polled {
    match buffer.poll_read() {
        Read::Begin(envelope) => Polled::Begin(envelope),
        Read::Data { head, tail } => Polled::Data([head, tail].concat()),
        Read::End => Polled::End,
        Read::Terminal(terminal) => Polled::Terminal(terminal),
        Read::Pending => Polled::Pending,
        Read::Done => Polled::Done,
    }
}

fn poll_message<S: Store>(buffer: &mut ReceiveBuffer<S, u8>) -> Polled {
    match buffer.poll_message() {
        Receive::Message {
            envelope,
            head,
            tail,
        } => Polled::Message(envelope, [head, tail].concat()),
        Receive::Terminal(terminal) => Polled::Terminal(terminal),
        Receive::Pending => Polled::Pending,
        Receive::Done => Polled::Done,
    }
}

impl Model {
    fn buffered(&self) -> usize {
        self.messages.iter().map(|one| one.unread.len()).sum()
    }

    fn arriving(&mut self) -> Option<&mut Message> {
        self.messages.back_mut().filter(|last| last.missing > 0)
    }

    /// Pushes to both. Whether there was room.
    fn push<S: Store>(
        &mut self,
        buffer: &mut ReceiveBuffer<S, u8>,
        len: u32,
        new: Envelope,
    ) -> bool {
        let arriving = self.arriving().map(|message| message.missing);
        let begins = arriving.is_none().then_some(new);
        let missing = arriving.unwrap_or(new.size);
        let len = len.min(missing);
        let bytes: Vec<u8> = (0..len)
            .map(|at| self.next_byte.wrapping_add(at as u8))
            .collect();
        match buffer.push(&bytes, begins, len == missing) {
            Ok(()) => {}
            Err(PushError::Full) => return false,
            Err(PushError::Misplaced) => {
                assert!(self.finished);
                return true;
            }
        }
        assert!(!self.finished);
        self.next_byte = self.next_byte.wrapping_add(len as u8);
        self.pushed += u64::from(len);
        if let Some(envelope) = begins {
            self.messages.push_back(Message {
                envelope,
                missing: envelope.size,
                unread: Vec::new(),
                begun: false,
                shown: false,
            });
        }
        let message = self.messages.back_mut().unwrap();
        message.unread.extend(bytes);
        message.missing -= len;
        true
    }

    fn polled_at_the_end(&mut self) -> Polled {
        match self.terminal.take() {
            Some(terminal) => Polled::Terminal(terminal),
            None if self.finished => Polled::Done,
            None => Polled::Pending,
        }
    }

    fn poll_read(&mut self) -> Polled {
        let over = |one: &Message| one.is_over() && one.shown;
        if self.messages.front().is_some_and(over) {
            self.messages.pop_front();
        }
        match self.messages.front_mut() {
            None => self.polled_at_the_end(),
            Some(message) if !message.begun => {
                message.begun = true;
                Polled::Begin(message.envelope)
            }
            Some(message) if !message.unread.is_empty() => Polled::Data(message.unread.clone()),
            Some(message) if message.missing == 0 => {
                self.messages.pop_front();
                Polled::End
            }
            Some(_) => Polled::Pending,
        }
    }

    fn poll_message(&mut self) -> Polled {
        if self.messages.front().is_some_and(Message::is_over) {
            self.messages.pop_front();
        }
        match self.messages.front_mut() {
            None => self.polled_at_the_end(),
            Some(message) if message.missing > 0 => Polled::Pending,
            Some(message) => {
                message.begun = true;
                message.shown = true;
                Polled::Message(message.envelope, message.unread.clone())
            }
        }
    }

    fn consume(&mut self, count: usize) -> Vec<u8> {
        let Some(front) = self.messages.front_mut().filter(|front| front.begun) else {
            return Vec::new();
        };
        let count = count.min(front.unread.len());
        let bytes: Vec<u8> = front.unread.drain(..count).collect();
        self.taken += bytes.len() as u64;
        bytes
    }

    fn finish(&mut self, terminal: u8, unread: Unread) -> u32 {
        if self.finished {
            return 0;
        }
        self.finished = true;
        self.terminal = Some(terminal);
        let before = self.buffered();
        match unread {
            Unread::Discard => self.messages.clear(),
            Unread::Deliver => self.messages.retain(|message| message.missing == 0),
        }
        let thrown = before - self.buffered();
        self.thrown += thrown as u64;
        thrown as u32
    }
}

/// Does one thing to both, and compares. Whether there was room.
fn step<S: Store>(model: &mut Model, buffer: &mut ReceiveBuffer<S, u8>, op: &Op) -> bool {
    match *op {
        Op::Push { len, envelope } => return model.push(buffer, len, envelope),
        Op::PollRead => assert_eq!(poll_read(buffer), model.poll_read()),
        Op::PollMessage => assert_eq!(poll_message(buffer), model.poll_message()),
        Op::Consume(count) => {
            let expected = model.consume(count).len();
            assert_eq!(buffer.consume(count) as usize, expected);
        }
        Op::Read(count) => {
            let mut into = std::vec![0; count];
            let read = buffer.read(&mut into);
            into.truncate(read as usize);
            assert_eq!(into, model.consume(count));
        }
        Op::DrainMessages => loop {
            let polled = poll_message(buffer);
            assert_eq!(polled, model.poll_message());
            let Polled::Message(_, bytes) = polled else {
                break;
            };
            step(model, buffer, &Op::Consume(bytes.len()));
        },
        Op::DrainRead => loop {
            let polled = poll_read(buffer);
            assert_eq!(polled, model.poll_read());
            match polled {
                Polled::Data(bytes) => assert!(step(model, buffer, &Op::Read(bytes.len()))),
                Polled::Pending | Polled::Done => break,
                _ => {}
            }
        },
        Op::Finish(unread) => {
            model.finishes += 1;
            let terminal = model.finishes;
            let expected = model.finish(terminal, unread);
            assert_eq!(buffer.finish(terminal, unread), expected);
        }
    }
    true
}

fn run<S: Store>(ops: &[Op], never_full: bool) {
    let mut model = Model::default();
    let mut buffer = ReceiveBuffer::<S, u8>::new();
    for op in ops {
        let room = step(&mut model, &mut buffer, op);
        assert!(room || !never_full);
        assert_eq!(buffer.buffered(), model.buffered());
        assert_eq!(buffer.is_finished(), model.finished);
        let accounted = model.taken + model.thrown + model.buffered() as u64;
        assert_eq!(model.pushed, accounted);
    }
    step(&mut model, &mut buffer, &Op::Finish(Unread::Deliver));
    step(&mut model, &mut buffer, &Op::DrainRead);
    assert_eq!(buffer.buffered(), 0);
    assert_eq!(model.pushed, model.taken + model.thrown);
    assert_eq!(poll_read(&mut buffer), Polled::Done);
}

fn length(most: u32) -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(0), 3 => Just(1), 4 => 0..=12_u32, 2 => 0..=most]
}

fn unread() -> impl Strategy<Value = Unread> {
    select(&[Unread::Deliver, Unread::Discard][..])
}

fn ops(most: u32) -> impl Strategy<Value = Vec<Op>> {
    let envelope =
        (length(most), any::<bool>()).prop_map(|(size, compressed)| Envelope { size, compressed });
    let count = || length(most).prop_map(|count| count as usize);
    let op = prop_oneof![
        30 => (length(most), envelope).prop_map(|(len, envelope)| Op::Push { len, envelope }),
        10 => Just(Op::PollRead),
        8 => Just(Op::PollMessage),
        4 => count().prop_map(Op::Consume),
        4 => count().prop_map(Op::Read),
        2 => Just(Op::DrainMessages),
        1 => Just(Op::DrainRead),
        1 => unread().prop_map(Op::Finish),
    ];
    proptest::collection::vec(op, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_small_fixed_buffer_does_what_the_model_does(ops in ops(24)) {
        run::<FixedStore<16, 2>>(&ops, false);
    }

    #[test]
    fn a_fixed_buffer_does_what_the_model_does(ops in ops(500)) {
        run::<FixedStore<1_000, 16>>(&ops, false);
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn a_growing_buffer_does_what_the_model_does(ops in ops(40_000)) {
        run::<GrowingStore>(&ops, true);
    }
}
