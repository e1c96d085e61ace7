//! Whether a network description makes sense, whatever file it came from.

use crate::names::limits;
use crate::spec::{Positions, Rope, RopeFrequencies, RopeScaling, Spec};

impl Spec {
    /// Checks sizes and numbers against each other and against absurdity.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(&self) -> std::result::Result<(), String> {
        in_range("number of layers", self.layers, limits::LAYERS)?;
        in_range("vocabulary size", self.vocab, limits::VOCAB)?;
        in_range("hidden size", self.hidden, limits::WIDTH)?;
        in_range("MLP size", self.intermediate, limits::WIDTH)?;
        in_range("number of heads", self.heads, limits::HEADS)?;
        in_range("number of key and value heads", self.kv_heads, limits::HEADS)?;
        in_range("head size", self.head_dim, limits::WIDTH)?;
        in_range("context", self.context, limits::CONTEXT)?;
        in_range("heads times head size", self.heads.saturating_mul(self.head_dim), limits::WIDTH)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} key and value heads", self.heads, self.kv_heads));
        }
        if self.windows.len() != self.layers {
            return Err(format!("{} sliding windows for {} layers", self.windows.len(), self.layers));
        }
        if self.windows.contains(&Some(0)) {
            return Err("a sliding window of 0 positions".to_owned());
        }
        for (name, cap) in [("attention", self.attention_softcap), ("logit", self.logit_softcap)] {
            if cap.is_some_and(|cap| !cap.is_finite() || cap <= 0.0) {
                return Err(format!("the {name} softcap is not a positive number"));
            }
        }
        if !self.attention_scale.is_finite() || self.attention_scale <= 0.0 {
            return Err("the attention scale is not a positive number".to_owned());
        }
        let (crate::spec::Norm::Rms { eps } | crate::spec::Norm::Layer { eps }) = self.norm;
        if !eps.is_finite() || eps < 0.0 {
            return Err("the epsilon of the norms is not a number of zero or more".to_owned());
        }
        match &self.positions {
            Positions::Learned => Ok(()),
            Positions::Rope(rope) => self.check_rope(rope),
        }
    }

    fn check_rope(&self, rope: &Rope) -> std::result::Result<(), String> {
        if rope.dims == 0 || !rope.dims.is_multiple_of(2) || rope.dims > self.head_dim {
            return Err(format!(
                "{} rotary dimensions in heads of {}; they must be even and no more than the head",
                rope.dims, self.head_dim
            ));
        }
        check_frequencies(&rope.global, rope.dims)?;
        rope.local.as_ref().map_or(Ok(()), |local| check_frequencies(local, rope.dims))
    }
}

fn check_frequencies(frequencies: &RopeFrequencies, dims: usize) -> std::result::Result<(), String> {
    let positive = |name: &str, value: f32| {
        if value.is_finite() && value > 0.0 {
            Ok(())
        } else {
            Err(format!("rotary scaling: {name} {value} is not a positive number"))
        }
    };
    positive("theta", frequencies.theta)?;
    match &frequencies.scaling {
        RopeScaling::None => Ok(()),
        RopeScaling::Linear { factor } => positive("factor", *factor),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            positive("factor", *factor)?;
            positive("low_freq_factor", *low_freq_factor)?;
            positive("high_freq_factor", *high_freq_factor)?;
            if low_freq_factor >= high_freq_factor {
                return Err("rotary scaling: low_freq_factor must be below high_freq_factor".to_owned());
            }
            in_range("original context of the rotary scaling", *original_context, limits::CONTEXT)
        }
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, attention_factor } => {
            positive("factor", *factor)?;
            positive("beta_fast", *beta_fast)?;
            positive("beta_slow", *beta_slow)?;
            positive("attention_factor", *attention_factor)?;
            in_range("original context of the rotary scaling", *original_context, limits::CONTEXT)
        }
        RopeScaling::Factors { short, long, attention_factor, .. } => {
            positive("attention_factor", *attention_factor)?;
            for (name, factors) in [("short", short), ("long", long)] {
                if factors.len() != dims / 2 {
                    return Err(format!(
                        "rotary scaling: {} {name} factors for {} rotated pairs",
                        factors.len(),
                        dims / 2
                    ));
                }
                for &factor in factors {
                    positive("factor", factor)?;
                }
            }
            Ok(())
        }
    }
}

fn in_range(name: &str, value: usize, most: usize) -> std::result::Result<(), String> {
    if value == 0 || value > most {
        return Err(format!("the {name} is {value}; it must lie between 1 and {most}"));
    }
    Ok(())
}
