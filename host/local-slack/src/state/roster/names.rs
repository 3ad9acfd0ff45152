//! Names that could be those of people and of channels.

use rand::RngExt;
use rand::rngs::StdRng;

const FIRST: [&str; 60] = [
    "Ada", "Adam", "Aisha", "Amara", "Ana", "Anders", "Anika", "Arjun", "Astrid", "Beatriz", "Ben",
    "Camille", "Carlos", "Chen", "Clara", "Daniel", "Diego", "Elena", "Emeka", "Emil", "Esther",
    "Farah", "Felix", "Freya", "Gabriel", "Grace", "Hana", "Hugo", "Ines", "Isaac", "Ivan", "Jana",
    "Jonas", "Julia", "Kaito", "Karim", "Katya", "Kofi", "Lars", "Leila", "Lucia", "Magnus",
    "Maria", "Mei", "Milan", "Nadia", "Nikhil", "Nora", "Oscar", "Paula", "Priya", "Rafael",
    "Ravi", "Rosa", "Samir", "Sofia", "Tariq", "Tomas", "Yuki", "Zoe",
];

const LAST: [&str; 60] = [
    "Abbas", "Adeyemi", "Alvarez", "Andersen", "Bakker", "Banerjee", "Bauer", "Becker", "Bianchi",
    "Brandt", "Castillo", "Chang", "Costa", "Cruz", "Dalton", "Das", "Dubois", "Eriksen",
    "Fischer", "Fontaine", "Garcia", "Gill", "Gupta", "Haas", "Hansen", "Hassan", "Horvat", "Ito",
    "Jansen", "Kaya", "Keller", "Khan", "Kim", "Kowalski", "Larsen", "Lopez", "Mancini", "Mensah",
    "Meyer", "Moreau", "Mori", "Nguyen", "Nowak", "Olsen", "Park", "Patel", "Pereira", "Petrov",
    "Rossi", "Santos", "Sato", "Schmidt", "Silva", "Singh", "Tanaka", "Torres", "Vargas", "Wagner",
    "Weber", "Yilmaz",
];

const TOPICS: [&str; 24] = [
    "api",
    "backend",
    "billing",
    "books",
    "coffee",
    "data",
    "deploys",
    "design",
    "docs",
    "frontend",
    "hiring",
    "incidents",
    "infra",
    "legal",
    "marketing",
    "mobile",
    "music",
    "onboarding",
    "product",
    "release",
    "sales",
    "search",
    "security",
    "support",
];

const KINDS: [&str; 8] = [
    "",
    "-help",
    "-news",
    "-team",
    "-dev",
    "-planning",
    "-review",
    "-social",
];

/// The names of a person.
pub(crate) struct PersonNames {
    /// Unique by the index.
    pub(crate) login: String,
    pub(crate) full: String,
}

/// Draws the names of a person.
pub(crate) fn person(index: usize, rng: &mut StdRng) -> PersonNames {
    let first = FIRST[rng.random_range(0..FIRST.len())];
    let last = LAST[rng.random_range(0..LAST.len())];
    let login = format!(
        "{}.{}{}",
        first.to_lowercase(),
        last.to_lowercase(),
        index + 1
    );
    let full = format!("{first} {last}");
    PersonNames { login, full }
}

/// A channel's name, unique by the index.
pub(crate) fn channel(index: usize) -> String {
    let (topic, kind) = (index % TOPICS.len(), index / TOPICS.len());
    let round = kind / KINDS.len();
    let name = format!("{}{}", TOPICS[topic], KINDS[kind % KINDS.len()]);
    if round == 0 {
        name
    } else {
        format!("{name}-{}", round + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn channel_names_do_not_repeat() {
        let names: HashSet<String> = (0..5_000).map(channel).collect();
        assert_eq!(names.len(), 5_000);
    }
}
