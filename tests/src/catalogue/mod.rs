//! The catalogue of wire cases as data: for each row where it belongs and which test holds it.
//!
//! Rows are tested by functions that are named after them, `conf_036_...`. A row whose case exists
//! at both ends has a test for each, `..._server` and `..._client`.
//!
//! Beside them the table of attacks, each with the bound that must hold; the core's have tests that
//! are named after them, `attack_a04_...`.

mod attacks;
mod properties;
mod rows;

pub use attacks::{ATTACKS, Attack};
pub use properties::{Holder, PROPERTIES, Property};
pub use rows::ROWS;

/// What a group of rows is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Opening and negotiation.
    Opening,
    /// Settings.
    Settings,
    /// `new_stream`.
    NewStream,
    /// Message data.
    Messages,
    /// Windows.
    FlowControl,
    /// `half_close` and `cancel`.
    HalfCloseAndCancel,
    /// Response headers and `close_stream`.
    Close,
    /// The number of messages.
    Cardinality,
    /// `grpc-timeout` and deadlines.
    Deadlines,
    /// Readers without flow control.
    BackPressure,
    /// Ids, empty frames and unknown ones.
    Ids,
    /// The life of the tunnel.
    LifeCycle,
    /// What an application may not do.
    Misuse,
}

/// Which end is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Our tunnel server.
    Server,
    /// Our tunnel client.
    Client,
    /// Each of them.
    Both,
    /// Neither in particular: the adapters.
    Adapter,
}

/// What kind of requirement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same observable behaviour as the reference.
    Must,
    /// Better than the reference.
    Harden,
    /// The outcome is the reference's, code and clean-up are better.
    MustHarden,
}

/// Whether something holds a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// These tests.
    Tested(&'static [&'static str]),
    /// Nothing yet; what is missing.
    Pending(&'static str),
}

/// A part of the program that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The state machines.
    Core,
    /// What puts them on a runtime.
    Adapter,
}

/// One numbered case.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number, from 1.
    pub number: u16,
    /// Its group.
    pub section: Section,
    /// The end under test.
    pub role: Role,
    /// The kind of requirement.
    pub class: Class,
    /// What holds it in the core, if it is the core's.
    pub core: Option<State>,
    /// What holds it in the adapters, if it is theirs.
    pub adapter: Option<State>,
}

impl Row {
    /// The layers that the row belongs to, with what holds it there.
    pub fn layers(&self) -> impl Iterator<Item = (Layer, State)> {
        let core = self.core.map(|state| (Layer::Core, state));
        let adapter = self.adapter.map(|state| (Layer::Adapter, state));
        core.into_iter().chain(adapter)
    }
}

const fn tested(tests: &'static [&'static str]) -> State {
    State::Tested(tests)
}

/// A row of the core alone.
const fn core(state: State) -> (Option<State>, Option<State>) {
    (Some(state), None)
}

/// A row of the adapters alone.
const fn adapter(state: State) -> (Option<State>, Option<State>) {
    (None, Some(state))
}

/// A row with a half in each.
const fn both(core: State, adapter: State) -> (Option<State>, Option<State>) {
    (Some(core), Some(adapter))
}

const fn row(
    number: u16,
    section: Section,
    role: Role,
    class: Class,
    (core, adapter): (Option<State>, Option<State>),
) -> Row {
    Row {
        number,
        section,
        role,
        class,
        core,
        adapter,
    }
}
