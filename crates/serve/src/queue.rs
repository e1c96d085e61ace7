//! Who is next: a bounded queue that takes those who ask by turns, each one's requests in their order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Waiting requests of type `T`.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    /// Clients with waiting requests, the next to be served first.
    turns: VecDeque<(String, VecDeque<T>)>,
    closed: bool,
}

/// Why a request cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// So many wait already.
    Full(usize),
    Closed,
}

impl<T> Waiting<T> {
    fn len(&self) -> usize {
        self.turns.iter().map(|(_, requests)| requests.len()).sum()
    }

    fn take(&mut self) -> Option<T> {
        let (client, mut requests) = self.turns.pop_front()?;
        let request = requests.pop_front();
        if !requests.is_empty() {
            self.turns.push_back((client, requests));
        }
        request
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Queue<T> {
        let waiting = Mutex::new(Waiting { turns: VecDeque::new(), closed: false });
        Queue { waiting, changed: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        // A panic elsewhere leaves the list whole: every change is one call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `request` of `client` in the queue. A full queue first loses those that nobody waits for any more.
    pub(crate) fn push(&self, client: String, request: T, gone: impl Fn(&T) -> bool) -> Result<(), NoPlace> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(NoPlace::Closed);
        }
        if waiting.len() >= self.capacity {
            for (_, requests) in &mut waiting.turns {
                requests.retain(|request| !gone(request));
            }
            waiting.turns.retain(|(_, requests)| !requests.is_empty());
        }
        let len = waiting.len();
        if len >= self.capacity {
            return Err(NoPlace::Full(len));
        }
        match waiting.turns.iter_mut().find(|(known, _)| *known == client) {
            Some((_, requests)) => requests.push_back(request),
            None => waiting.turns.push_back((client, VecDeque::from([request]))),
        }
        self.changed.notify_one();
        Ok(())
    }

    /// The next request, once there is one; `None` when the queue is closed.
    pub(crate) fn next(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            match waiting.take() {
                Some(request) => return Some(request),
                None => waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The next request, if there is one now.
    pub(crate) fn next_now(&self) -> Option<T> {
        let mut waiting = self.lock();
        if waiting.closed { None } else { waiting.take() }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends it; returns those that were not served.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.changed.notify_all();
        waiting.turns.drain(..).flat_map(|(_, requests)| requests).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(capacity: usize, requests: &[(&str, u32)]) -> Queue<u32> {
        let queue = Queue::new(capacity);
        for (client, request) in requests {
            queue.push((*client).to_owned(), *request, |_| false).unwrap();
        }
        queue
    }

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let queue = queue(9, &[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)]);
        let order: Vec<u32> = (0..6).map(|_| queue.next().unwrap()).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn a_full_queue_refuses_unless_somebody_has_gone() {
        let queue = queue(2, &[("a", 1), ("b", 2)]);
        assert_eq!(queue.push("c".to_owned(), 3, |_| false), Err(NoPlace::Full(2)));
        assert_eq!(queue.push("c".to_owned(), 3, |request| *request == 1), Ok(()));
        assert_eq!((queue.next(), queue.next()), (Some(2), Some(3)));
    }

    #[test]
    fn a_closed_queue_gives_back_what_waited_and_wakes_the_worker() {
        let queue = std::sync::Arc::new(queue(3, &[("a", 1), ("b", 2)]));
        assert_eq!(queue.close(), [1, 2]);
        assert_eq!(queue.push("a".to_owned(), 1, |_| false), Err(NoPlace::Closed));
        assert_eq!(queue.next(), None);
        let empty = std::sync::Arc::new(Queue::<u32>::new(1));
        let other = empty.clone();
        let worker = std::thread::spawn(move || other.next());
        std::thread::sleep(std::time::Duration::from_millis(20));
        empty.close();
        assert_eq!(worker.join().unwrap(), None);
    }
}
