//! Means in which ranks have weights: who counts how much is found out ahead of the call.

use super::{Communicator, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Call, Collective, ReduceOp};

impl Communicator {
    /// This rank's share of a weighted mean: its weight, by the sum of all. Collective; blocks. A sum
    /// of inputs that were multiplied by their shares is the mean.
    pub(super) fn share(&self, call: Call, weight: f64, options: &Options<'_>) -> Result<f64> {
        check(call, weight, options).map_err(|error| self.refuse_call(call, error))?;
        let mut total = [weight];
        let exchange = Options { timeout: options.timeout, ..Options::default() };
        self.allreduce(&mut total, ReduceOp::Sum, &exchange).map_err(|error| {
            let text = format!("exchanging the weights of {call}: {}", error.message());
            error.with_message(text)
        })?;
        let [total] = total;
        if total > 0.0 && total.is_finite() {
            return Ok(weight / total);
        }
        // All ranks see the same sum, and all refuse.
        let text =
            format!("the weights for {call} sum up to {total}, by which nothing can be divided");
        Err(self.refuse_call(call, Error::new(ErrorKind::InvalidArgument, text)))
    }
}

fn check(call: Call, weight: f64, options: &Options<'_>) -> Result<()> {
    use Collective::*;
    let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
    let reduces = matches!(call.collective, Allreduce | Reduce | ReduceScatter | ReduceScatterv);
    if !reduces || call.op != ReduceOp::Avg {
        return invalid(format!(
            "weight is for avg in allreduce, reduce and reduce_scatter, not for {call}"
        ));
    }
    if !call.op.supports(call.dtype) {
        let text = format!("{} is not defined on {}", call.op, call.dtype);
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if options.scale.is_some() {
        return invalid(format!("{call} has both a weight and a scale"));
    }
    if !(weight.is_finite() && weight >= 0.0) {
        return invalid(format!("weight is {weight}: it has to be finite and not negative"));
    }
    Ok(())
}
