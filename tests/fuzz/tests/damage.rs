//! Every target on its seeds, as they are and damaged by chance. `PROPTEST_CASES=10000` looks harder.
#![allow(
    missing_docs,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::panic::catch_unwind;

use djangobot_fuzz::{TARGETS, Target};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

#[test]
fn every_target_has_seeds_and_bears_them() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for seed in seeds {
            check(target, &seed).unwrap();
        }
    }
}

#[test]
fn every_target_bears_damaged_seeds() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let strategy = (any::<Index>(), prop::collection::vec(damage(), 1..6));
        let outcome = TestRunner::new(Config::default()).run(&strategy, |(seed, damages)| {
            let mut input = seed.get(&seeds).clone();
            for damage in damages {
                damage.on(&mut input, target, &seeds);
            }
            input.truncate(target.longest);
            check(target, &input)
        });
        if let Err(error) = outcome {
            panic!("{}: {error}", target.name);
        }
    }
}

/// Runs the target, and shows the input where it fails.
fn check(target: &Target, input: &[u8]) -> Result<(), TestCaseError> {
    catch_unwind(|| (target.check)(input)).map_err(|_| {
        let input = input.escape_ascii();
        TestCaseError::fail(format!("the target {} fails on b\"{input}\"", target.name))
    })
}

/// Something that happens to an input.
#[derive(Clone, Debug)]
enum Damage {
    Cut(Index),
    Overwrite(Index, u8),
    Flip(Index, u8),
    Delete(Index, Index),
    Repeat(Index, Index),
    Word(Index, Index),
    /// A part of another seed.
    Splice(Index, Index, Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        place().prop_map(Damage::Cut),
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Overwrite(at, byte)),
        (place(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (place(), place()).prop_map(|(from, to)| Damage::Delete(from, to)),
        (place(), place()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        (place(), place()).prop_map(|(at, word)| Damage::Word(at, word)),
        (place(), place(), place(), place())
            .prop_map(|(at, seed, from, to)| Damage::Splice(at, seed, from, to)),
    ]
}

impl Damage {
    fn on(&self, bytes: &mut Vec<u8>, target: &Target, seeds: &[Vec<u8>]) {
        let range = |from: &Index, to: &Index, length: usize| {
            let (from, to) = (from.index(length + 1), to.index(length + 1));
            from.min(to)..from.max(to)
        };
        let length = bytes.len();
        match self {
            Damage::Word(at, word) if !target.words.is_empty() => {
                let at = at.index(length + 1);
                bytes.splice(at..at, word.get(target.words).bytes());
            }
            Damage::Splice(at, seed, from, to) => {
                let seed = seed.get(seeds);
                let at = at.index(length + 1);
                bytes.splice(at..at, seed[range(from, to, seed.len())].iter().copied());
            }
            Damage::Word(..) => {}
            _ if length == 0 => {}
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Overwrite(at, byte) => bytes[at.index(length)] = *byte,
            Damage::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Damage::Delete(from, to) => drop(bytes.drain(range(from, to, length))),
            Damage::Repeat(from, to) => {
                let part = bytes[range(from, to, length)].to_vec();
                bytes.extend(part);
            }
        }
    }
}
