// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A few threads for calls that block, and a descriptor that tells the loop when one is done.
//!
//! Owns the threads, the queue and the results. Threads start when work arrives, up to a limit, and
//! then stay. Dropping the pool discards what is queued and lets go of the threads: one that is
//! stuck in the kernel is never waited for, and ends with the process. A job that panics costs its
//! result, not its thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::EventfdFlags;

/// Stack of a worker, in bytes: it makes system calls, not recursion.
const STACK: usize = 256 << 10;

/// Runs jobs of type `J` on other threads; see the module's documentation.
#[derive(Debug)]
pub struct Pool<J, R> {
    shared: Arc<Shared<J, R>>,
    name: String,
    threads_max: usize,
    queue_max: usize,
}

#[derive(Debug)]
struct Shared<J, R> {
    state: Mutex<State<J, R>>,
    wanted: Condvar,
    done: OwnedFd,
    work: fn(J) -> R,
}

#[derive(Debug)]
struct State<J, R> {
    queue: VecDeque<J>,
    results: VecDeque<R>,
    threads: usize,
    idle: usize,
    panics: u64,
    closed: bool,
}

impl<J: Send + 'static, R: Send + 'static> Pool<J, R> {
    /// A pool of at most `threads` threads called `name`, with at most `queue_max` jobs waiting.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(name: &str, threads: usize, queue_max: usize, work: fn(J) -> R) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let state = State {
            queue: VecDeque::new(),
            results: VecDeque::new(),
            threads: 0,
            idle: 0,
            panics: 0,
            closed: false,
        };
        let done = rustix::event::eventfd(0, flags)?;
        let shared = Shared { state: Mutex::new(state), wanted: Condvar::new(), done, work };
        Ok(Self {
            shared: Arc::new(shared),
            name: name.to_owned(),
            threads_max: threads.max(1),
            queue_max,
        })
    }

    /// The descriptor that becomes readable when a result arrives.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }

    /// Queues `job`.
    ///
    /// # Errors
    /// Gives the job back when the queue is full, or when there is no thread and none can be
    /// started.
    pub fn submit(&mut self, job: J) -> Result<(), J> {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.queue_max {
            return Err(job);
        }
        if state.queue.len() >= state.idle && state.threads < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name(self.name.clone()).stack_size(STACK);
            match thread.spawn(move || shared.serve()) {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads == 0 => return Err(job),
                Err(_) => {} // the others will come to it
            }
        }
        state.queue.push_back(job);
        drop(state);
        self.shared.wanted.notify_one();
        Ok(())
    }

    /// A result, in the order in which jobs ended; `None` when there is none yet.
    ///
    /// Call until `None`: the descriptor announces only what arrives after that.
    pub fn next_result(&mut self) -> Option<R> {
        let mut state = self.shared.lock();
        let result = state.results.pop_front();
        if result.is_none() {
            // Under the lock, so that no announcement of a later result is swallowed.
            let _ = rustix::io::read(&self.shared.done, &mut [0; 8]);
        }
        result
    }

    /// Jobs that were accepted and have not started.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Jobs that panicked: there will be no results for these.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.lock().panics
    }
}

impl<J, R> Drop for Pool<J, R> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let discarded = std::mem::take(&mut state.queue);
        drop(state);
        drop(discarded);
        self.shared.wanted.notify_all();
    }
}

impl<J, R> Shared<J, R> {
    /// A panic never happens while the lock is held, so that a poisoned lock is still sound.
    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let Some(job) = state.queue.pop_front() else {
                state.idle += 1;
                state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            drop(state);
            // Nothing of ours is shared with the job but what it was given.
            let result = catch_unwind(AssertUnwindSafe(|| (self.work)(job)));
            state = self.lock();
            match result {
                Ok(result) => state.results.push_back(result),
                Err(_) => state.panics += 1,
            }
            // Fails only when the counter is full, and then the descriptor is readable anyway.
            let _ = rustix::io::write(&self.done, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::testing::{LONG, ready};

    /// A job that says it started, then waits to be let go.
    struct Gate {
        started: Sender<()>,
        open: Receiver<u32>,
    }

    fn pass(Gate { started, open }: Gate) -> u32 {
        started.send(()).expect("the test listens");
        open.recv().unwrap_or(0)
    }

    fn gate() -> (Gate, Receiver<()>, Sender<u32>) {
        let ((started, starts), (opener, open)) = (channel(), channel());
        (Gate { started, open }, starts, opener)
    }

    fn wait<J: Send + 'static, R: Send + 'static>(pool: &mut Pool<J, R>) -> R {
        loop {
            if let Some(result) = pool.next_result() {
                return result;
            }
            ready(pool.fd());
        }
    }

    #[test]
    fn results_come_back_and_the_descriptor_falls_silent() {
        let mut pool = Pool::new("test", 3, 100, |n: u64| n * n).expect("pool");
        for n in 0..50 {
            pool.submit(n).expect("room");
        }
        let mut results: Vec<u64> = (0..50).map(|_| wait(&mut pool)).collect();
        results.sort_unstable();
        assert_eq!(results, (0..50).map(|n| n * n).collect::<Vec<_>>());
        assert_eq!(pool.next_result(), None);
        let mut fds = [PollFd::from_borrowed_fd(pool.fd(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&rustix::time::Timespec::default())), Ok(0));
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let mut pool = Pool::new("test", 1, 1, pass).expect("pool");
        let (first, started, open_first) = gate();
        pool.submit(first).map_err(drop).expect("room");
        started.recv_timeout(LONG).expect("it runs");
        let (second, _started, open_second) = gate();
        pool.submit(second).map_err(drop).expect("room");
        assert_eq!(pool.waiting(), 1);
        assert!(pool.submit(gate().0).is_err());
        open_second.send(2).expect("it waits");
        open_first.send(1).expect("it waits");
        assert_eq!((wait(&mut pool), wait(&mut pool)), (1, 2));
    }

    #[test]
    fn one_stuck_job_does_not_hold_up_the_others_nor_the_drop() {
        let mut pool = Pool::new("test", 2, 10, pass).expect("pool");
        let (stuck, started, _never) = gate();
        pool.submit(stuck).map_err(drop).expect("room");
        started.recv_timeout(LONG).expect("it runs");
        let (quick, _started, open) = gate();
        open.send(7).expect("it waits");
        pool.submit(quick).map_err(drop).expect("room");
        assert_eq!(wait(&mut pool), 7);
        drop(pool); // would hang here if it joined
    }

    #[test]
    fn a_panic_costs_the_result_and_nothing_else() {
        fn work(n: u32) -> u32 {
            // Silently: resume_unwind does not call the panic hook.
            if n == 0 { std::panic::resume_unwind(Box::new("test")) } else { n }
        }
        let mut pool = Pool::new("test", 1, 10, work).expect("pool");
        pool.submit(0).expect("room");
        pool.submit(5).expect("room");
        assert_eq!(wait(&mut pool), 5);
        assert_eq!(pool.panics(), 1);
    }
}
