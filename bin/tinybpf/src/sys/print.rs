// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What libbpf prints, collected per thread instead of written to standard error.
//!
//! Owns libbpf's print callback, which is one for the whole process and is installed once. A
//! message goes to the collector of the thread that runs the operation, so that threads which load
//! different objects do not mix their logs; without a collector it goes to the `log` facade.
#![allow(unsafe_code, reason = "the callback and its argument list are C")]

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use libbpf_sys::{__va_list_tag, LIBBPF_DEBUG, LIBBPF_WARN, libbpf_print_level};

/// Messages that one operation may collect; more are dropped, since something went in circles.
const MESSAGES_MAX: usize = 1 << 16;

struct Collector {
    debug: bool,
    messages: Vec<String>,
}

thread_local! {
    static COLLECTOR: RefCell<Option<Collector>> = const { RefCell::new(None) };
}

unsafe extern "C" {
    /// `vasprintf(3)`. The list is handed through as the pointer that libbpf passes.
    fn vasprintf(out: *mut *mut c_char, format: *const c_char, list: *mut __va_list_tag) -> c_int;
}

/// How much is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Warnings and information.
    Normal,
    /// Debug messages too, among them the verifier's words on programs that it accepted.
    Debug,
}

/// Runs `operation` and returns what libbpf printed meanwhile in this thread.
pub fn capture<R>(detail: Detail, operation: impl FnOnce() -> R) -> (R, Vec<String>) {
    install();
    let collector = Collector { debug: detail == Detail::Debug, messages: Vec::new() };
    let restore = Restore(COLLECTOR.replace(Some(collector)));
    let result = operation();
    let collected = COLLECTOR.take();
    drop(restore);
    (result, collected.map(|collector| collector.messages).unwrap_or_default())
}

/// Puts the collector of an outer operation back, also when the inner one panics.
struct Restore(Option<Collector>);

impl Drop for Restore {
    fn drop(&mut self) {
        COLLECTOR.set(self.0.take());
    }
}

/// Makes libbpf's messages come here. Every way into libbpf passes by.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the callback lives for ever and may be called from any thread. The earlier one is
        // libbpf's own, which nobody needs back.
        unsafe { libbpf_sys::libbpf_set_print(Some(on_message)) };
    });
}

/// libbpf's callback: formats once, since a list can be read once only, and never unwinds.
unsafe extern "C" fn on_message(
    level: libbpf_print_level,
    format: *const c_char,
    list: *mut __va_list_tag,
) -> c_int {
    if level >= LIBBPF_DEBUG && !wants_debug() {
        return 0;
    }
    // SAFETY: libbpf passes a format with its list, which nobody has read from.
    let Some(message) = (unsafe { formatted(format, list) }) else { return 0 };
    let length = c_int::try_from(message.len()).unwrap_or(c_int::MAX);
    // A panic (in a logger, say) must not cross libbpf's frames.
    drop(catch_unwind(AssertUnwindSafe(|| deliver(level, message))));
    length
}

/// A format of C's with its arguments, as text.
///
/// # Safety
/// The list belongs to the format, and nobody has read from it.
pub(super) unsafe fn formatted(format: *const c_char, list: *mut __va_list_tag) -> Option<String> {
    let mut text = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    let length = unsafe { vasprintf(&raw mut text, format, list) };
    if length < 0 || text.is_null() {
        return None;
    }
    // SAFETY: vasprintf succeeded, so that `text` is a C string.
    let copy = unsafe { super::text_of(text) };
    // SAFETY: vasprintf allocated it for us, and the copy above is ours.
    unsafe { libc::free(text.cast::<c_void>()) };
    Some(copy)
}

fn wants_debug() -> bool {
    let wanted = |cell: &RefCell<Option<Collector>>| {
        cell.try_borrow().is_ok_and(|collector| collector.as_ref().is_some_and(|c| c.debug))
    };
    COLLECTOR.try_with(wanted).unwrap_or(false)
}

fn deliver(level: libbpf_print_level, message: String) {
    let rest = COLLECTOR.try_with(|cell| {
        let Ok(mut slot) = cell.try_borrow_mut() else { return Some(message) };
        let Some(collector) = slot.as_mut() else { return Some(message) };
        if collector.messages.len() < MESSAGES_MAX {
            collector.messages.push(message);
        }
        None
    });
    if let Ok(Some(message)) = rest {
        let level = if level == LIBBPF_WARN { log::Level::Warn } else { log::Level::Debug };
        log::log!(target: "libbpf", level, "{}", message.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open that fails, with a message of libbpf's; the number that it leaves.
    fn fail(name: &std::ffi::CStr) -> std::io::Error {
        // SAFETY: a C string and no options.
        let object = unsafe { libbpf_sys::bpf_object__open_file(name.as_ptr(), std::ptr::null()) };
        let error = std::io::Error::last_os_error();
        assert!(object.is_null());
        error
    }

    #[test]
    fn messages_are_collected_per_operation() {
        let ((), first) = capture(Detail::Normal, || drop(fail(c"/nonexistent/first")));
        let ((), second) = capture(Detail::Normal, || ());
        assert!(first.iter().any(|line| line.contains("/nonexistent/first")), "{first:?}");
        assert!(second.is_empty());
    }

    #[test]
    fn threads_do_not_mix_their_messages() {
        let collect = |name: &'static std::ffi::CStr| {
            std::thread::spawn(move || {
                (0..200)
                    .flat_map(|_| capture(Detail::Normal, || drop(fail(name))).1)
                    .collect::<Vec<_>>()
            })
        };
        let threads = [collect(c"/nonexistent/left"), collect(c"/nonexistent/right")];
        let [left, right] = threads.map(|thread| thread.join().expect("a thread"));
        assert!(left.len() >= 200 && left.iter().all(|line| !line.contains("right")));
        assert!(right.len() >= 200 && right.iter().all(|line| !line.contains("left")));
    }

    /// A logger whose writing fails.
    struct Failing;

    impl log::Log for Failing {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, _: &log::Record<'_>) {
            drop(std::fs::File::open("/dev/null/log"));
        }

        fn flush(&self) {}
    }

    #[test]
    fn a_logger_that_fails_does_not_change_the_number() {
        install();
        log::set_logger(&Failing).expect("the only one here");
        log::set_max_level(log::LevelFilter::Trace);
        assert_eq!(fail(c"/nonexistent/third").raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn an_inner_operation_gives_the_outer_one_its_collector_back() {
        let (inner, outer) = capture(Detail::Normal, || {
            let ((), inner) = capture(Detail::Normal, || drop(fail(c"/nonexistent/inner")));
            drop(fail(c"/nonexistent/outer"));
            inner
        });
        assert!(inner.iter().any(|line| line.contains("inner")));
        assert!(outer.iter().any(|line| line.contains("outer")));
        assert!(!outer.iter().any(|line| line.contains("inner")));
    }
}
