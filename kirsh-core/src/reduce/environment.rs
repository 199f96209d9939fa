//! The thread's floating-point settings, put right around a fold.
//!
//! A blocking call folds on the caller's thread, and what runs there may have changed how that
//! thread computes: on x86-64 a library linked with `-ffast-math` turns on flush-to-zero when it is loaded,
//! and trainers turn it on for speed. Ranks that differ in this would get different bits.
//! Elsewhere no such habit is known, and the settings are left alone.

/// Runs `fold` with rounding to nearest and subnormals kept, then restores the thread's settings.
///
/// Costs one read of a control register where the settings are the usual ones. The arithmetic
/// cannot drift out from between: it starts from memory that is read, and ends in memory that is
/// written, and the compiler moves neither across the assembly.
#[inline]
pub(super) fn standard(fold: impl FnOnce()) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        /// Exceptions masked, to nearest, no flushing: the state in which a process starts.
        const STANDARD: u32 = 0x1f80;
        /// Flags that tell what has happened so far; they change no result.
        const FLAGS: u32 = 0x3f;
        let found = control();
        if found & !FLAGS != STANDARD {
            set_control(STANDARD);
            fold();
            set_control(found);
            return;
        }
    }
    fold();
}

/// The register that governs SSE and AVX arithmetic.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn control() -> u32 {
    let mut value = 0u32;
    // SAFETY: the instruction writes four bytes, which `value` has, and changes nothing else.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags));
    }
    value
}

/// Sets that register.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn set_control(value: u32) {
    // SAFETY: the instruction reads four bytes, which `value` has. The values that come here were
    // read from the register, or are made of bits that every x86-64 has, so it does not fault.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags));
    }
}
