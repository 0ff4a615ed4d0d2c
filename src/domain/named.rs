//! Closed sets of terms that have one official name and one number on the wire.

use thiserror::Error;

/// A word that is none of a closed set's names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{word:?} is not one of {allowed}")]
pub struct UnknownName {
    /// The word as found.
    pub word: String,
    /// The names that would have been accepted, separated by commas.
    pub allowed: String,
}

/// Declares a closed set: an enum whose variants carry a wire number and an upper-case name.
///
/// The numbers are those of the `greenlane.v1` enums, the names theirs without the prefix; both are what stores,
/// policy files and messages hold, so neither may ever change.
macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)+ }

        impl $name {
            /// Every member, ascending by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The official name, as stores and files write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The number in the wire contract.
            pub const fn number(self) -> u8 { self as u8 }

            /// The member with that wire number.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.name()) }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::UnknownName;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::domain::UnknownName {
                        word: word.to_owned(),
                        allowed: [$($text),+].join(", "),
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                word.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
