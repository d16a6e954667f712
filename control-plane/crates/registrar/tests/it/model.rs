//! A seeded run of REGISTERs in any order against a model of a few lines.

use std::collections::BTreeMap;

use registrar::Change;
use sans_io::Random;

use crate::world::{contacts, open};

/// What the model knows of a binding: Call-ID, CSeq, and the second in which it ends.
type Known = (u64, u32, u64);

#[test]
fn random_registers_leave_what_the_rules_say() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..20).collect(),
    };
    for seed in seeds {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = Random::from_number(seed);
    let mut world = open(|config| config.contacts_max = 4);
    let mut model: BTreeMap<u64, Known> = BTreeMap::new();
    let mut stored: BTreeMap<u64, String> = BTreeMap::new();
    let mut second = 0;
    for step in 0..400 {
        let pass = random.below(40);
        second += pass;
        world.after(pass);
        model.retain(|_, &mut (.., ends)| ends > second);
        let (call_id, cseq) = (random.below(3), u32::try_from(random.below(200)).unwrap());
        let contact = random.below(6);
        let expires = [0, 60, 90, 400][usize::try_from(random.below(4)).unwrap()];
        let is_all = random.chance_permille(30);
        let fields = match is_all {
            true => "Contact: *\r\nExpires: 0\r\n".to_owned(),
            false => format!("Contact: <sip:{contact}@192.0.2.1>;expires={expires}\r\n"),
        };
        let request = world.request_with("alice", &format!("call-{call_id}"), cseq, &fields);
        let status = world.send(&request).status().unwrap();
        let is_old = |known: &Known| known.0 == call_id && cseq <= known.1;
        let expected = if is_all {
            match model.values().any(is_old) {
                true => 500,
                false => {
                    model.clear();
                    200
                }
            }
        } else if model.get(&contact).is_some_and(is_old) {
            500
        } else if expires == 0 {
            model.remove(&contact);
            200
        } else if !model.contains_key(&contact) && model.len() == 4 {
            403
        } else {
            model.insert(contact, (call_id, cseq, second + expires));
            200
        };
        assert_eq!(status, expected, "step {step}, SEED={seed}");
        while let Some(change) = world.registrar.poll_change() {
            match change {
                Change::Put { binding, .. } => stored.insert(binding.id, binding.contact.to_string()),
                Change::Remove { id } => stored.remove(&id),
            };
        }
        let query = world.request_with("alice", "query", 1, "");
        let told: Vec<String> = contacts(&world.send(&query));
        let wanted: Vec<String> = model
            .iter()
            .map(|(contact, (.., ends))| format!("<sip:{contact}@192.0.2.1>;expires={}", ends - second))
            .collect();
        assert_eq!(told, wanted, "step {step}, SEED={seed}");
        let mut kept: Vec<String> = stored.values().cloned().collect();
        kept.sort();
        let bound: Vec<String> = model
            .keys()
            .map(|contact| format!("sip:{contact}@192.0.2.1"))
            .collect();
        assert_eq!(
            kept, bound,
            "what is stored is what there is: step {step}, SEED={seed}"
        );
        assert_eq!(
            world.registrar.binding_count(),
            model.len(),
            "step {step}, SEED={seed}"
        );
    }
    world.after(400);
    assert_eq!(
        (world.registrar.binding_count(), world.registrar.poll_timeout()),
        (0, None),
        "SEED={seed}"
    );
}
