//! What an operating system would have brought, on a Cortex-M under a debugger or an emulator: the
//! vectors, and output and exit by semihosting. The compiler brings the functions that it calls.
#![allow(
    unsafe_code,
    reason = "without an operating system somebody has to speak to the machine; only this file and `linux.rs` do"
)]

use core::arch::{asm, global_asm};
use core::fmt;
use core::panic::PanicInfo;

/// The operations of Arm's semihosting that are used here.
const SYS_WRITEC: usize = 0x03;
const SYS_EXIT_EXTENDED: usize = 0x20;
/// `ADP_Stopped_ApplicationExit`.
const APPLICATION_EXIT: usize = 0x2_0026;

// The first word is the initial stack pointer, which the linker script knows.
global_asm!(
    ".section .vectors, \"a\"",
    ".word _stack",
    ".word {start}",
    ".rept 14",
    ".word {fault}",
    ".endr",
    ".text",
    start = sym start,
    fault = sym fault,
);

extern "C" fn start() -> ! {
    exit(crate::run())
}

/// Any exception is one of the machine: there are no interrupts.
extern "C" fn fault() -> ! {
    exit(102)
}

fn semihosting(operation: usize, argument: *const u8) {
    // SAFETY: the two operations used read what `argument` points to, and change no memory.
    unsafe {
        asm!(
            "bkpt 0xab",
            inout("r0") operation => _,
            in("r1") argument,
            options(nostack, readonly),
        );
    }
}

fn exit(code: i32) -> ! {
    let block = [APPLICATION_EXIT, code.cast_unsigned() as usize];
    loop {
        semihosting(SYS_EXIT_EXTENDED, block.as_ptr().cast());
    }
}

/// The debugger's console.
pub(crate) struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.as_bytes() {
            semihosting(SYS_WRITEC, byte);
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}
