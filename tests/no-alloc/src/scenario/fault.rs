//! What can go wrong.

/// A fault, whose number is the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Fault {
    /// A pipe has no room for a frame.
    PipeFull = 10,
    /// The framer refused a frame.
    Framing = 11,
    /// A head could not be encoded.
    Head = 12,
    /// The settings are out of range.
    Config = 13,
    /// The tunnel gave up.
    Tunnel = 20,
    /// A call could not be opened.
    Open = 21,
    /// A command was refused.
    Command = 22,
    /// A stream was named that is none.
    Stream = 23,
    /// A receive buffer had no room.
    Buffer = 30,
    /// A message is not what was sent.
    Content = 31,
    /// Something else came than what was sent.
    Unexpected = 32,
    /// A call did not end as it should have.
    Outcome = 40,
    /// A stream was left over.
    LeftOver = 41,
    /// The tunnel did not come to rest.
    NoRest = 42,
    /// The tunnel did not end cleanly.
    NoEnd = 43,
}

/// What may fail.
pub(crate) type Maybe<T> = Result<T, Fault>;

/// Holds, or is this fault.
pub(crate) const fn hold(holds: bool, fault: Fault) -> Maybe<()> {
    if holds { Ok(()) } else { Err(fault) }
}
