//! The types that a key can have: how each is written and shown.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    super::{AuditDurability, AuditFailure, ClientCertificates, LogFormat, Secret, Span, StoreUrl},
    Form,
};

/// A type that a key can have.
pub(super) trait Setting {
    const FORM: Form;

    fn shown(&self) -> String;
}

impl Setting for SocketAddr {
    const FORM: Form = Form::Address;

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for Span {
    const FORM: Form = Form::Duration;

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    const FORM: Form = Form::Number {
        most: u32::MAX as u64,
    };

    fn shown(&self) -> String {
        self.to_string()
    }
}

// TOML's integers are signed and 64 bits wide, so half of a u64 cannot be written.
impl Setting for u64 {
    const FORM: Form = Form::Number {
        most: i64::MAX as u64,
    };

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for usize {
    const FORM: Form = u64::FORM;

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for bool {
    const FORM: Form = Form::Switch;

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    const FORM: Form = Form::Text;

    fn shown(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    const FORM: Form = Form::Path;

    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for StoreUrl {
    const FORM: Form = Form::StoreUrl;

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for Secret {
    const FORM: Form = Form::Secret;

    fn shown(&self) -> String {
        Secret::shown(self).to_owned()
    }
}

impl Setting for AuditDurability {
    const FORM: Form = Form::Choice(&["process", "power", "off"]);

    fn shown(&self) -> String {
        let name = match self {
            Self::Process => "process",
            Self::Power => "power",
            Self::Off => "off",
        };
        name.to_owned()
    }
}

impl Setting for AuditFailure {
    const FORM: Form = Form::Choice(&["refuse", "serve"]);

    fn shown(&self) -> String {
        let name = match self {
            Self::Refuse => "refuse",
            Self::Serve => "serve",
        };
        name.to_owned()
    }
}

impl Setting for ClientCertificates {
    const FORM: Form = Form::Choice(&["required", "optional"]);

    fn shown(&self) -> String {
        let name = match self {
            Self::Optional => "optional",
            Self::Required => "required",
        };
        name.to_owned()
    }
}

impl Setting for LogFormat {
    const FORM: Form = Form::Choice(&["text", "json"]);

    fn shown(&self) -> String {
        let name = match self {
            Self::Text => "text",
            Self::Json => "json",
        };
        name.to_owned()
    }
}
