use djangobot_plugin::*;
struct Names;

impl Plugin for Names {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, Error> {
        Ok(Names)
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        Ok(Edits::new().set("/user_name", event.id()).into())
    }
}

djangobot_plugin::export!(Names);
