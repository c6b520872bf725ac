//! The one lock of the hypervisor, and the atomics.
//!
//! Interrupts stay masked at EL2, so a holder is never interrupted and a spinlock that knows nothing
//! of interrupts is enough. A lock contains what it guards. Nobody waits for another CPU while holding
//! one. Who holds one may take those that stand behind it:
//!
//! - the roll of VMs (`run::lifecycle`), a VM's UART, its clock, its vGIC, the serial line (`run::serial`);
//! - a VM's stage 2 (`mm::guest_ram`), the pool (`mm::pool`);
//! - a VM's power (`emul::power`) and a pCPU's work (`run::machine`): none.
//!
//! Under `cfg(shuttle)` the same names are the model checker's, so that the logic above is explored
//! over its interleavings as it stands.

#[cfg(not(shuttle))]
mod imp {
    pub use core::sync::atomic;
    use spin::mutex::{SpinMutex, SpinMutexGuard};

    /// Mutual exclusion by spinning; Arm ARM B2.12 exclusives, so memory must be cacheable.
    pub struct Mutex<T>(SpinMutex<T>);

    /// Access to what a [`Mutex`] contains, for as long as it lives.
    pub type MutexGuard<'a, T> = SpinMutexGuard<'a, T>;

    impl<T> Mutex<T> {
        /// A free lock around `value`.
        pub const fn new(value: T) -> Self {
            Self(SpinMutex::new(value))
        }

        /// Waits until the lock is free and takes it.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock()
        }

        /// The same with its first attempt inlined, for exits that are frequent.
        #[inline(always)]
        pub fn lock_inline(&self) -> MutexGuard<'_, T> {
            match self.0.try_lock_weak() {
                Some(guard) => guard,
                None => self.lock(),
            }
        }

        /// Takes the lock if one attempt will do, which may fail for no reason; inlined: for a short way that has a longer one
        /// to turn to.
        #[inline(always)]
        pub fn try_lock_inline(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock_weak()
        }

        /// Takes the lock if it is free, for those who must not wait (the panic path).
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock()
        }
    }
}

#[cfg(shuttle)]
mod imp {
    pub use shuttle::sync::atomic;

    /// The model checker's lock; it is never poisoned because a panic ends the exploration.
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    /// Access to what a [`Mutex`] contains, for as long as it lives.
    pub type MutexGuard<'a, T> = shuttle::sync::MutexGuard<'a, T>;

    #[allow(clippy::unwrap_used, reason = "a poisoned lock is a failed test")]
    impl<T> Mutex<T> {
        /// A free lock around `value`.
        pub fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        /// Waits until the lock is free and takes it.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        /// The same.
        pub fn lock_inline(&self) -> MutexGuard<'_, T> {
            self.lock()
        }

        /// Takes the lock if it is free.
        pub fn try_lock_inline(&self) -> Option<MutexGuard<'_, T>> {
            self.try_lock()
        }

        /// The same.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

pub use imp::{Mutex, MutexGuard, atomic};
