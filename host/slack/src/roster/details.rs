//! The fields of an entry beyond those that the roster itself uses, as Slack's Web API gives them: what somebody who maps
//! users or channels to things of their own asks for. Others are not kept, so that an entry stays small.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Kept fields as the text of a JSON object; `None` where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details(Option<Arc<str>>);

impl Details {
    /// Details from the text that [`Details::text`] gave.
    pub(super) fn of_text(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }

    /// The text; empty where there are no fields.
    pub(super) fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The object, to which the caller adds the fields of the entry.
    pub(super) fn object(&self) -> Map<String, Value> {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    fn read<T: for<'a> Deserialize<'a> + Default>(&self) -> T {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    fn write(fields: &impl Serialize) -> Self {
        match serde_json::to_string(fields) {
            Ok(text) if text != "{}" => Self::of_text(&text),
            _ => Self::default(),
        }
    }
}

/// Defines a struct of optional fields. A field that an event does not give keeps its old value.
macro_rules! fields {
    ($(#[$meta:meta])* $name:ident: $($field:ident),*) => {
        $(#[$meta])*
        #[derive(Debug, Default, Deserialize, Serialize)]
        pub(super) struct $name {
            $(#[serde(default, skip_serializing_if = "Option::is_none")]
            $field: Option<Value>,)*
        }

        impl $name {
            fn over(self, old: Self) -> Self {
                Self { $($field: self.$field.or(old.$field)),* }
            }
        }
    };
}

fields!(
    /// Of a user object.
    UserDetails: team_id, is_admin, is_owner, is_primary_owner, is_restricted, is_ultra_restricted, is_stranger, tz,
    tz_label, tz_offset, locale
);
fields!(
    /// Of the `profile` in a user object.
    ProfileDetails: first_name, last_name, email, title, phone, pronouns, team, image_72, image_192
);
fields!(
    /// Of a conversation object.
    ConversationDetails: is_general, is_shared, is_ext_shared, is_org_shared, creator, created, context_team_id, topic,
    purpose, num_members
);
fields!(
    /// Of a user group object.
    UsergroupDetails: team_id, description, users, user_count
);
fields!(
    /// Of a bot object.
    BotDetails: app_id, user_id
);

/// The details of a user, in the shape of a user object.
#[derive(Debug, Default, Deserialize, Serialize)]
struct UserObject {
    #[serde(flatten)]
    user: UserDetails,
    #[serde(default)]
    profile: ProfileDetails,
}

impl UserDetails {
    pub(super) fn with_profile(self, profile: ProfileDetails, old: &Details) -> Details {
        let old: UserObject = old.read();
        Details::write(&UserObject {
            user: self.over(old.user),
            profile: profile.over(old.profile),
        })
    }
}

impl ConversationDetails {
    pub(super) fn details(self, old: &Details) -> Details {
        Details::write(&self.over(old.read()))
    }
}

impl UsergroupDetails {
    pub(super) fn details(self, old: &Details) -> Details {
        Details::write(&self.over(old.read()))
    }
}

impl BotDetails {
    pub(super) fn details(self, old: &Details) -> Details {
        Details::write(&self.over(old.read()))
    }
}
