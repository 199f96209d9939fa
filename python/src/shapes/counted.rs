//! The calls in which each rank has a number of rows of its own: reading those numbers, and hearing
//! those of others where the caller gives none.

use kirsh_core::Collective;
use pyo3::prelude::*;

use super::{Exchange, Parts, Reading, joined, product, too_large};
use crate::arguments::{self, Refusal};
use crate::operand::Operand;
use crate::request::{Common, Counts};

impl Reading<'_, '_> {
    pub(super) fn gathering_counted(
        &self,
        common: &Common,
        exchange: &mut Exchange<'_>,
    ) -> Result<Parts, Refusal> {
        self.check_out_is_for_root()?;
        let input = self.rows_of("x", self.x()?)?;
        let (rows, rest) = self.axis(&input)?;
        let counts = match self.given.counts {
            Some(counts) => self.counts("counts", counts)?,
            None => {
                let (by, each) = match self.collective {
                    Collective::Allgatherv => (Collective::Allgather, self.place.ranks()),
                    _ if self.is_root => (Collective::Gather, self.place.ranks()),
                    _ => (Collective::Gather, 0),
                };
                let mut told = numbers(exchange(by, common, vec![rows as u64], each)?)?;
                if told.is_empty() {
                    // Off the root only its own is asked for.
                    told.resize(self.place.ranks(), rows);
                }
                told
            }
        };
        let own = self.place.own(&counts);
        if own != rows {
            return self.invalid(format!(
                "x has shape {}, and counts says {own} rows for rank {}",
                input.describe_shape(),
                self.place.rank
            ));
        }
        let elements = scaled(&counts, rest)?;
        let shape = joined(total(&counts)?, rest);
        let output = self.is_root.then(|| self.output(&input, &shape)).transpose()?;
        let counts = match self.collective {
            Collective::Allgatherv => Counts::Known(elements),
            _ => Counts::Rooted { own: input.count(), each: elements },
        };
        Ok(Parts::apart(0, input, output).with_counts(counts))
    }

    pub(super) fn dividing_counted(&self) -> Result<Parts, Refusal> {
        let counts = self.given.counts.map(|counts| self.counts("counts", counts)).transpose()?;
        if !self.is_root {
            let output = self.output_that_is_all()?;
            let (rows, _) = self.axis(&output)?;
            if let Some(own) =
                counts.map(|counts| self.place.own(&counts)).filter(|own| *own != rows)
            {
                return self.invalid(format!(
                    "out has shape {}, and counts says {own} rows for rank {}",
                    output.describe_shape(),
                    self.place.rank
                ));
            }
            let counts = Counts::Rooted { own: output.count(), each: Vec::new() };
            return Ok(Parts::received(0, output).with_counts(counts));
        }
        let Some(counts) = counts else {
            return self.invalid(format!(
                "counts is missing: {} takes a number of rows for each rank",
                self.collective
            ));
        };
        let input = self.rows_of("x", self.x()?)?;
        let (_, rest) = self.axis(&input)?;
        self.check_sum("counts", &counts, &input)?;
        let elements = scaled(&counts, rest)?;
        let own = self.place.own(&counts);
        let output = self.output(&input, &joined(own, rest))?;
        let counts = match self.collective {
            Collective::ReduceScatterv => Counts::Known(elements),
            _ => Counts::Rooted { own: output.count(), each: elements },
        };
        Ok(Parts::apart(0, input, Some(output)).with_counts(counts))
    }

    pub(super) fn exchanging_counted(
        &self,
        common: &Common,
        exchange: &mut Exchange<'_>,
    ) -> Result<Parts, Refusal> {
        let input = self.rows_of("x", self.x()?)?;
        let (_, rest) = self.axis(&input)?;
        let Some(send) = self.given.counts else {
            return self
                .invalid("send_counts is missing: a number of rows for each rank".to_owned());
        };
        let send = self.counts("send_counts", send)?;
        self.check_sum("send_counts", &send, &input)?;
        let recv = match self.given.recv_counts {
            Some(recv) => self.counts("recv_counts", recv)?,
            None => {
                let told = send.iter().map(|count| *count as u64).collect();
                numbers(exchange(Collective::Alltoall, common, told, self.place.ranks())?)?
            }
        };
        let output = self.output(&input, &joined(total(&recv)?, rest))?;
        let counts = Counts::Pairs { send: scaled(&send, rest)?, recv: scaled(&recv, rest)? };
        Ok(Parts::apart(0, input, Some(output)).with_counts(counts))
    }

    fn counts(&self, argument: &str, value: &Bound<'_, PyAny>) -> Result<Vec<usize>, Refusal> {
        let counts: Vec<usize> = value.extract().map_err(|cause| {
            let shown = arguments::shown(value);
            Refusal::caused(&format!("{argument}={shown} is not a list of numbers of rows"), cause)
        })?;
        if counts.len() != self.place.ranks() {
            return self.invalid(format!(
                "{argument} has {} numbers, and there are {} ranks: give one for each",
                counts.len(),
                self.place.ranks()
            ));
        }
        Ok(counts)
    }

    fn check_sum(&self, argument: &str, counts: &[usize], x: &Operand) -> Result<(), Refusal> {
        let (sum, (rows, _)) = (total(counts)?, self.axis(x)?);
        if sum == rows {
            return Ok(());
        }
        self.invalid(format!(
            "{argument} sums up to {sum} rows, and x has shape {}",
            x.describe_shape()
        ))
    }
}

fn total(counts: &[usize]) -> Result<usize, Refusal> {
    counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count)).ok_or_else(too_large)
}

/// Rows as elements.
fn scaled(counts: &[usize], rest: &[usize]) -> Result<Vec<usize>, Refusal> {
    let row: usize = rest.iter().product();
    counts.iter().map(|rows| product(*rows, row)).collect()
}

fn numbers(told: Vec<u64>) -> Result<Vec<usize>, Refusal> {
    told.into_iter().map(|one| usize::try_from(one).map_err(|_| too_large())).collect()
}
