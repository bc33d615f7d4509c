//! The attacks of the table in `grpctunnel_tests::catalogue::ATTACKS`, each with the bound that must
//! hold: floods without the harness around the tunnel. Optimised (`cargo test --release -p
//! grpctunnel-tests --no-default-features --test attacks`) they have the table's sizes, otherwise a
//! tenth.

mod data;
mod decode;
mod flood;
mod frames;
mod streams;
mod time;
mod unread;
