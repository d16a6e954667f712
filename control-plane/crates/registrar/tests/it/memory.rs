//! What a registration takes, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::world::open;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: i64) {
    // A thread that is ending counts no more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Budget: 900 bytes a registration. Counted without what the allocator adds, which is some 10 bytes an allocation.
#[test]
fn a_registration_keeps_to_its_budget() {
    const USERS: i64 = 10_000;
    let mut world = open(|_| {});
    let before = HELD.get();
    for user in 0..USERS {
        let fields = format!(
            "Contact: <sip:user{user:06}@192.0.2.1:5060;transport=udp;line=0123456789abcdef>;\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{user:012}>\"\r\n"
        );
        let call_id = format!("{user:012}-0123456789abcdef@192.0.2.1");
        let request = world.request_with(&format!("user{user:06}"), &call_id, 1, &fields);
        assert_eq!(world.send(&request).status(), Some(200));
        while world.registrar.poll_change().is_some() {}
    }
    let each = (HELD.get() - before) / USERS;
    println!("{each} bytes a registration");
    assert!(each <= 750, "{each} bytes a registration");
}
