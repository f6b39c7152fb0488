//! How much memory something takes, counted: every program that uses this crate has the allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts the bytes of each thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a thread has allocated, less what it has freed; and the most that this ever was.
#[derive(Clone, Copy)]
struct Count {
    held: isize,
    peak: isize,
}

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { held: 0, peak: 0 }) };
}

/// A thread that is ending counts no more.
fn add(bytes: isize) {
    let _ = COUNT.try_with(|count| {
        let Count { held, peak } = count.get();
        let held = held + bytes;
        count.set(Count { held, peak: peak.max(held) });
    });
}

// SAFETY: everything is left to the system's allocator. Counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller keeps the promises that the same function of the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both exist while the one is copied to the other.
        add(new_size as isize);
        add(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Runs something, and gives the most memory that it held at a time, in bytes. Only this thread counts.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let held = COUNT.get().held;
    COUNT.set(Count { held, peak: held });
    let result = work();
    (result, (COUNT.get().peak - held) as usize)
}

/// Runs something that must never hold more than this many bytes.
///
/// # Panics
/// When it does.
#[track_caller]
pub fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak_of(work);
    assert!(peak <= most, "{peak} bytes were allocated; at most {most} should be");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_is_held_at_a_time_is_counted() {
        let (kept, peak) = peak_of(|| {
            drop(vec![1_u8; 1000]);
            vec![1_u8; 700]
        });
        assert_eq!((kept.len(), peak), (700, 1000));
        assert_eq!(peak_of(|| drop(kept)).1, 0);
        assert_eq!(peak_of(|| Vec::<u64>::with_capacity(1 << 20).capacity()).1, 8 << 20);
        let grown = peak_of(|| vec![0_u8; 100].reserve_exact(300)).1;
        assert!((400..=500).contains(&grown), "{grown}");
    }

    #[test]
    #[should_panic(expected = "101 bytes were allocated; at most 100 should be")]
    fn more_than_is_allowed_is_a_panic() {
        within(100, || vec![0_u8; 101]);
    }
}
