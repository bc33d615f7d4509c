//! Gateway, agent, local server and caller together, and the program itself.

mod attacks;
mod bad_input;
mod bench;
mod calls;
mod check;
mod configured;
mod crowd;
mod dialled;
mod locals;
mod pages;
mod program;
mod raw;
mod recycled;
mod routing;
mod support;
mod trust;
mod ways;
mod words;
