//! The plugin of the benchmarks: reads one field and sets one, by pointer or through JSON; or traps.

use djangobot_plugin::{Edits, Error, Event, Plugin, Verdict};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    mode: Mode,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Edit,
    Json,
    Trap,
}

struct Marker(Mode);

impl Plugin for Marker {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(Marker(config.mode))
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        match self.0 {
            Mode::Edit => {
                let user = event.text("/user").unwrap_or_default();
                Ok(Edits::new().set("/user_name", user).into())
            }
            Mode::Json => {
                let mut value: Value = event.json()?;
                value["user_name"] = value["user"].clone();
                Verdict::replace("message", &value)
            }
            Mode::Trap if event.has("/trap") => panic!("told to"),
            Mode::Trap => Ok(Verdict::Keep),
        }
    }
}

djangobot_plugin::export!(Marker);
