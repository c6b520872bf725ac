//! Who called whom, by the chain of frame pointers (AAPCS64 6.4.6).

use super::{boot, regs};

/// The most frames that are followed.
const MAX_FRAMES: usize = 32;

/// Return addresses from the frame record at `frame` outwards.
#[derive(Debug)]
pub struct Backtrace {
    frame: u64,
    left: usize,
}

/// From a frame pointer (x29).
pub const fn from(frame: u64) -> Backtrace {
    Backtrace {
        frame,
        left: MAX_FRAMES,
    }
}

/// From the caller of this function.
#[inline(always)]
pub fn here() -> Backtrace {
    from(regs::read_frame_pointer())
}

impl Iterator for Backtrace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let image = boot::image()?;
        let record = crate::types::PaRange::new(crate::types::Pa::new(self.frame), 16)?;
        if self.left == 0 || self.frame & 7 != 0 || !image.covers(record) {
            return None;
        }
        let guard = boot::stack_guard();
        if guard.get() >> 12 == self.frame >> 12 {
            return None;
        }
        // SAFETY: two aligned words within the image, whose data and stacks are mapped; a page that is a guard ends
        // the chain above, and the fault that a further one would cause is reported by the CPU's halt.
        let (next, return_address) = unsafe {
            (
                (self.frame as *const u64).read(),
                (self.frame as *const u64).add(1).read(),
            )
        };
        // The chain goes up the stack; anything else is damage.
        self.left = if next > self.frame { self.left - 1 } else { 0 };
        self.frame = next;
        (return_address != 0).then_some(return_address)
    }
}
