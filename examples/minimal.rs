//! Sums one array over all ranks. Run it with
//! `kirsh run -n 4 -- cargo run --release -p kirsh-core --example minimal`.

use kirsh_core::{Communicator, Config, Options, ReduceOp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let comm = Communicator::create(&Config::default())?;
    let mut data = vec![comm.rank() as f32 + 1.0; 8];
    comm.allreduce(&mut data, ReduceOp::Sum, &Options::default())?;
    println!("rank {} of {}: {data:?}", comm.rank(), comm.size());
    Ok(())
}
