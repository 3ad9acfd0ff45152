use proptest::prelude::*;

use super::*;

fn members(set: &SortedSet) -> Vec<(String, f64)> {
    set.iter()
        .map(|(member, score)| (String::from_utf8(member.to_vec()).unwrap(), score))
        .collect()
}

#[test]
fn members_stand_by_score_and_then_by_bytes() {
    let mut set = SortedSet::default();
    for (member, score) in [
        ("b", 1.0),
        ("a", 1.0),
        ("aa", 1.0),
        ("z", -1.0),
        ("c", f64::INFINITY),
        ("a", 0.0),
    ] {
        set.insert(member.as_bytes(), score);
    }
    let expect = [
        ("z", -1.0),
        ("a", 0.0),
        ("aa", 1.0),
        ("b", 1.0),
        ("c", f64::INFINITY),
    ];
    assert_eq!(members(&set), expect.map(|(m, s)| (m.to_owned(), s)));
}

#[test]
fn a_member_given_back_stands_where_it_stood() {
    let mut set = SortedSet::default();
    set.insert(b"first", 1.0);
    set.insert(b"second", 2.0);
    let (member, standing) = set.pop_first().unwrap();
    set.give_back(
        &member,
        MemberState {
            returned: true,
            ..standing
        },
    );
    let (member, standing) = set.pop_first().unwrap();
    assert_eq!(
        (&member[..], standing),
        (
            &b"first"[..],
            MemberState {
                score: 1.0,
                returned: true
            }
        )
    );
}

/// A simple and slow model of a set.
#[derive(Default)]
struct Model(Vec<(Vec<u8>, f64)>);

impl Model {
    fn insert(&mut self, member: &[u8], score: f64) {
        self.0.retain(|(m, _)| m != member);
        self.0.push((member.to_vec(), score));
        self.0
            .sort_by(|(m1, s1), (m2, s2)| s1.partial_cmp(s2).unwrap().then(m1.cmp(m2)));
    }
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-3i8..3).prop_map(f64::from),
        prop::sample::select(vec![
            -0.0,
            0.5,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX
        ]),
    ]
}

fn bound() -> impl Strategy<Value = Bound<f64>> {
    (score(), any::<bool>()).prop_map(|(s, open)| {
        if open {
            Bound::Excluded(s)
        } else {
            Bound::Included(s)
        }
    })
}

proptest! {
    #[test]
    fn a_set_behaves_like_a_sorted_list(
        steps in prop::collection::vec((0u8..4, prop::collection::vec(0u8..3, 0..3), score()), 0..60),
        ranges in prop::collection::vec((bound(), bound()), 8),
    ) {
        let (mut set, mut model) = (SortedSet::default(), Model::default());
        for (step, member, score) in steps {
            match step {
                0 => {
                    let expect = (!model.0.is_empty()).then(|| model.0.remove(0));
                    prop_assert_eq!(set.pop_first().map(|(m, s)| (m.to_vec(), s.score)), expect);
                }
                1 => {
                    let expect = model.0.iter().position(|(m, _)| *m == member).map(|i| model.0.remove(i).1);
                    prop_assert_eq!(set.remove(&member).map(|s| s.score), expect);
                }
                _ => {
                    set.insert(&member, score);
                    model.insert(&member, score);
                }
            }
            prop_assert_eq!(set.len(), model.0.len());
            prop_assert_eq!(set.bytes, model.0.iter().map(|(m, _)| m.len()).sum::<usize>());
        }
        let all: Vec<_> = set.iter().map(|(m, s)| (m.to_vec(), s.to_bits())).collect();
        prop_assert_eq!(all, model.0.iter().map(|(m, s)| (m.clone(), s.to_bits())).collect::<Vec<_>>());
        prop_assert_eq!(set.last_score(), model.0.last().map(|(_, s)| *s));
        for (min, max) in ranges {
            use std::ops::RangeBounds;
            let expect: Vec<_> = model.0.iter().filter(|(_, s)| (min, max).contains(s)).map(|(m, _)| m.clone()).collect();
            prop_assert_eq!(set.range(min, max).map(|(m, _)| m.to_vec()).collect::<Vec<_>>(), expect.clone());
            prop_assert_eq!(set.count(min, max), expect.len());
        }
    }
}
