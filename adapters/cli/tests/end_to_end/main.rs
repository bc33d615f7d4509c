//! Gateway, agent, local server and caller together, and the program itself.

mod attacks;
mod calls;
mod crowd;
mod dialled;
mod locals;
mod pages;
mod program;
mod raw;
mod recycled;
mod routing;
mod support;
mod ways;
mod words;
