//! Closed sets of words that double as labels: declared once, with what each word means.
//!
//! Every series with a `reason` or a `state` rests on such a set, so that its values are known beforehand,
//! can stand at 0 from the start, and are documented by the same lines that define them.

/// Declares an enum whose variants each have a label and a meaning.
macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident: $($variant:ident $label:literal $meaning:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(unreachable_pub, reason = "some sets are for one module only")]
        pub enum $name { $(#[doc = $meaning] $variant,)* }

        #[allow(unreachable_pub, dead_code, reason = "some sets are for one module only")]
        impl $name {
            /// Every member, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it in labels, logs and JSON.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// What it means, in a sentence for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

pub(crate) use closed_set;
