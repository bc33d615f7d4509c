//! What std and the C library would have brought: entry, exit, panics, output, and five functions
//! that the compiler calls.
#![allow(
    unsafe_code,
    reason = "without std somebody has to speak to the kernel; only this file and `cortex_m.rs` do"
)]

use core::arch::{asm, global_asm};
use core::fmt;
use core::panic::PanicInfo;

// The kernel enters with an aligned stack and no return address.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "call {start}",
    "ud2",
    start = sym start,
);

extern "C" fn start() -> ! {
    exit(crate::run())
}

/// `exit_group`.
fn exit(code: i32) -> ! {
    // SAFETY: the call does not return, and touches no memory.
    unsafe {
        asm!("syscall", in("rax") 231, in("rdi") code, options(noreturn, nostack));
    }
}

/// Standard output, without a buffer.
pub(crate) struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written: isize;
            // SAFETY: `write` reads `rest`, which lives on, and changes no memory; the kernel keeps
            // all registers but these three.
            unsafe {
                asm!(
                    "syscall",
                    inout("rax") 1_isize => written,
                    in("rdi") 1,
                    in("rsi") rest.as_ptr(),
                    in("rdx") rest.len(),
                    out("rcx") _,
                    out("r11") _,
                    options(nostack, readonly),
                );
            }
            let written = usize::try_from(written).ok().filter(|bytes| *bytes > 0);
            rest = written
                .and_then(|bytes| rest.get(bytes..))
                .ok_or(fmt::Error)?;
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's, and the direction flag is clear in Rust code.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the caller's; going forward overwrites nothing that is still to be read.
        return unsafe { memcpy(to, from, len) };
    }
    // SAFETY: the caller's; the direction flag is cleared again. `len` is not zero here.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") len => _,
            inout("rdi") to.add(len).sub(1) => _,
            inout("rsi") from.add(len).sub(1) => _,
            options(nostack),
        );
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller's, and the direction flag is clear in Rust code.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") len => _, inout("rdi") to => _, in("al") byte.to_le_bytes()[0],
            options(nostack, preserves_flags),
        );
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    for index in 0..len {
        // SAFETY: the caller's.
        let (left, right) = unsafe { (*left.add(index), *right.add(index)) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(left, right, len) }
}
