//! The state machines as tables: what every input does in every state.
//!
//! A cell says what the application sees, then, behind an arrow, which frames leave; a dot says
//! that nothing happens. `ended(1,CODE,Reason)` is the terminal event of stream 1 with its gRPC
//! code at this end, `abort` and `finish` are what the carrier is to do. A test plays each cell
//! against the core, so the tables cannot be out of date.
//!
#![doc = include_str!("../docs/tunnel.md")]
#![doc = include_str!("../docs/client.md")]
#![doc = include_str!("../docs/server.md")]
