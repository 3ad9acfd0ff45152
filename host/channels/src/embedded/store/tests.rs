use super::*;

fn add(keyspace: &mut Keyspace<'_>, key: &str, member: &str) {
    keyspace.edit(key.as_bytes(), Absent::Create, |set: &mut SortedSet| set.insert(member.as_bytes(), 1.0)).unwrap();
}
