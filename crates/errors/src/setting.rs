//! Everything a message may ask a person to set or to run, as values.

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $words:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $words] $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// In plain words, where neither flag nor field is known.
            pub fn words(self) -> &'static str {
                match self {
                    $($name::$variant => $words,)+
                }
            }
        }
    };
}

named! {
    /// A setting of an answer, a training or a measurement.
    Setting {
        Adapter => "the adapter",
        Adapters => "the number of adapters",
        AllowedHost => "other names of the server",
        ApiKeyFile => "the file of API keys",
        Catalyst => "the catalyst",
        Cells => "the file of cells",
        Context => "the context",
        Cors => "the pages that may ask",
        Data => "the training data",
        Device => "the training device",
        Exact => "exact arithmetic",
        Examples => "the examples",
        Force => "blending by force",
        Framing => "the framing",
        FrequencyPenalty => "the frequency penalty",
        Host => "the address to listen on",
        Keep => "the entries kept",
        LearningRate => "the learning rate",
        Lengths => "the lengths",
        Limit => "the limit",
        MaxTokens => "the tokens of the answer",
        Memory => "the memory allowed",
        MinP => "min-p",
        Model => "the model",
        Novelty => "the share of novelty",
        Only => "the choice of policies",
        Outside => "the tasks from outside",
        Places => "the places",
        Policy => "the policy",
        Pool => "the pool",
        PoolKeyFile => "the file with the pool's key",
        PoolTimeout => "the time allowed for the pool",
        Port => "the port",
        Pot => "the size of the pot",
        PresencePenalty => "the presence penalty",
        Prompt => "the length of the prompt",
        Recent => "the recent entries kept",
        RepetitionPenalty => "the repetition penalty",
        Route => "the route",
        Runs => "the number of runs",
        Scheme => "the number type",
        Server => "the server",
        ServerKeyFile => "the file with the server's key",
        ServerModel => "the server's model",
        ServerTimeout => "the time allowed for the server",
        Shape => "the shape",
        Sinks => "the sinks",
        Sizes => "the numbers of examples",
        Smooth => "the smoothing",
        Tasks => "the tasks",
        Temperature => "the temperature",
        Tokens => "the number of tokens",
        TopP => "top-p",
        Window => "the window",
    }
}

named! {
    /// Something else that a person can run. Words are nouns, so that a sentence can go on with a verb.
    Command {
        CalibrateRoute => "the calibration of a route",
        ListModels => "the list of models",
        SaveSession => "saving a session",
        ServePool => "a server with pools",
        TrainPool => "the training of a pool",
    }
}
