//! Gateway, agent, local server and caller together, and the program itself.

mod attacks;
mod bad_input;
mod calls;
mod check;
mod configured;
mod crowd;
mod dialled;
mod locals;
mod observed;
mod packaging;
mod pages;
mod program;
mod raw;
mod readme;
mod recycled;
mod retried;
mod routing;
mod stopping;
mod support;
#[cfg(unix)]
mod systemd;
mod trust;
mod ways;
mod words;
