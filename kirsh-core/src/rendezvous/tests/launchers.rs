//! What each launcher leaves in the environment is understood. Open MPI's and Hydra's variables are
//! as mpirun 5.0.11 and mpiexec 5.0.2 set them; torchrun's as torch 2.15 does; Slurm's as srun(1)
//! documents them.

use std::path::PathBuf;

use super::env;
use crate::error::ErrorKind;
use crate::rendezvous::identity::{Arguments, Rendezvous, Source, identity, job_id, rendezvous};
use crate::rendezvous::launchers::agent_store;
use crate::rendezvous::{Env, Identity};

type Variables<'a> = Vec<(&'a str, &'a str)>;

const TORCHRUN: [(&str, &str); 9] = [
    ("RANK", "1"),
    ("WORLD_SIZE", "2"),
    ("LOCAL_RANK", "1"),
    ("LOCAL_WORLD_SIZE", "2"),
    ("MASTER_ADDR", "localhost"),
    ("MASTER_PORT", "41123"),
    ("TORCHELASTIC_RUN_ID", "run"),
    ("TORCHELASTIC_RESTART_COUNT", "3"),
    ("TORCHELASTIC_USE_AGENT_STORE", "True"),
];

const OPEN_MPI: [(&str, &str); 6] = [
    ("OMPI_COMM_WORLD_RANK", "1"),
    ("OMPI_COMM_WORLD_SIZE", "2"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
    ("PMIX_NAMESPACE", "prterun-a/b-13435@1"),
    ("PMIX_SERVER_TMPDIR", "/tmp/ompi.13435"),
];

const HYDRA: [(&str, &str); 6] = [
    ("PMI_RANK", "1"),
    ("PMI_SIZE", "2"),
    ("PMI_FD", "9"),
    ("PMI_HOSTNAME", "vm"),
    ("MPI_LOCALRANKID", "1"),
    ("MPI_LOCALNRANKS", "2"),
];

const SLURM: [(&str, &str); 12] = [
    ("SLURM_PROCID", "5"),
    ("SLURM_LOCALID", "1"),
    ("SLURM_NODEID", "2"),
    ("SLURM_NTASKS", "8"),
    ("SLURM_JOB_ID", "1234567"),
    ("SLURM_JOB_NODELIST", "n[001-009]"),
    ("SLURM_STEP_ID", "2"),
    ("SLURM_STEP_NUM_TASKS", "6"),
    ("SLURM_STEP_NUM_NODES", "3"),
    ("SLURM_STEP_NODELIST", "n[004-005,009]"),
    ("SLURM_STEP_TASKS_PER_NODE", "2(x3)"),
    ("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7"),
];

/// The variables with one of them changed, or added; empty is unset.
fn with<'a>(variables: &[(&'a str, &'a str)], changes: &[(&'a str, &'a str)]) -> Variables<'a> {
    let kept = |(name, _): &(&str, &str)| changes.iter().all(|(changed, _)| name != changed);
    variables.iter().copied().filter(kept).chain(changes.iter().copied()).collect()
}

fn who(env: Env<'_>) -> Identity {
    identity(&Arguments::default(), env).unwrap()
}

fn place(env: Env<'_>) -> Rendezvous {
    let (place, source) = rendezvous(&Arguments::default(), &who(env), env).unwrap().unwrap();
    assert_eq!(source, who(env).source);
    place
}

fn refusal(env: Env<'_>) -> String {
    let error = rendezvous(&Arguments::default(), &who(env), env).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("KIRSH_RENDEZVOUS=tcp://host:port"), "{error}");
    error.message().to_owned()
}

#[test]
fn every_launcher_says_who_this_is_and_what_the_job_is_called() {
    let pmi = [("PMI_RANK", "1"), ("PMI_SIZE", "2")];
    let by_port = with(&HYDRA, &[("PMI_RANK", ""), ("PMI_ID", "1")]);
    let cases: [(&[(&str, &str)], _, _); 6] = [
        (&TORCHRUN, (1, 2, Some(1), Some(2), "torchrun"), "torchrun-run"),
        (&OPEN_MPI, (1, 2, Some(1), Some(2), "Open MPI"), "openmpi-prterun-a/b-13435@1"),
        (&HYDRA, (1, 2, Some(1), Some(2), "MPICH (hydra)"), "kirsh"),
        (&by_port, (1, 2, Some(1), Some(2), "MPICH (hydra)"), "kirsh"),
        (&SLURM, (5, 6, Some(1), None, "Slurm"), "slurm-1234567.2"),
        (&pmi, (1, 2, None, None, "PMI"), "kirsh"),
    ];
    for (variables, (rank, world_size, local_rank, local_size, name), job) in cases {
        let source = Source::Launcher(name);
        let expected = Identity { rank, world_size, local_rank, local_size, source };
        assert_eq!(who(&env(variables)), expected);
        assert_eq!(job_id(&expected, &env(variables)).unwrap(), job, "{name}");
        let named = env(&with(variables, &[("KIRSH_JOB_ID", "mine")]));
        assert_eq!(job_id(&expected, &named).unwrap(), "mine");
        let told = env(&with(variables, &[("KIRSH_RENDEZVOUS", "tcp://h:1")]));
        let (_, source) = rendezvous(&Arguments::default(), &expected, &told).unwrap().unwrap();
        assert_eq!(source, Source::Kirsh, "{name}: Kirsh's own variable goes before");
    }
}

#[test]
fn of_two_launchers_the_inner_one_counts() {
    let torchrun_in_slurm = [&SLURM[..], &TORCHRUN].concat();
    assert_eq!(who(&env(&torchrun_in_slurm)).source, Source::Launcher("torchrun"));
    let mpirun_in_slurm = [&SLURM[..], &OPEN_MPI].concat();
    assert_eq!(who(&env(&mpirun_in_slurm)).source, Source::Launcher("Open MPI"));
    let hydra_in_slurm = [&SLURM[..], &HYDRA].concat();
    assert_eq!(who(&env(&hydra_in_slurm)).source, Source::Launcher("MPICH (hydra)"));
    // srun --mpi=pmi2 speaks PMI itself.
    let srun = [&SLURM[..], &[("PMI_RANK", "5"), ("PMI_SIZE", "6")]].concat();
    assert_eq!(who(&env(&srun)).source, Source::Launcher("Slurm"));
    let by_hand = with(&TORCHRUN, &[("TORCHELASTIC_RUN_ID", "")]);
    assert_eq!(who(&env(&by_hand)).source, Source::Launcher("RANK and WORLD_SIZE"));
}

#[test]
fn half_of_a_launchers_identity_is_an_error() {
    let half = with(&OPEN_MPI, &[("OMPI_COMM_WORLD_SIZE", "")]);
    let port = with(&HYDRA, &[("PMI_RANK", ""), ("PMI_ID", "1"), ("PMI_SIZE", "")]);
    for (variables, lacks) in [(half, "no OMPI_COMM_WORLD_SIZE"), (port, "no PMI_SIZE")] {
        let error = identity(&Arguments::default(), &env(&variables)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(lacks), "{error}");
    }
}

#[test]
fn torchs_store_is_for_python_and_others_are_told_what_to_set() {
    let torchrun = env(&TORCHRUN);
    assert_eq!(agent_store(&who(&torchrun), &torchrun).as_deref(), Some("localhost:41123"));
    let text = refusal(&torchrun);
    assert!(text.contains("localhost:41123, lead to torch's own store"), "{text}");
    assert!(text.contains("another than MASTER_PORT"), "{text}");

    let told = env(&with(&TORCHRUN, &[("KIRSH_RENDEZVOUS", "tcp://h:1")]));
    assert_eq!(agent_store(&who(&told), &told), None);
    let alone = env(&with(&TORCHRUN, &[("RANK", "0"), ("WORLD_SIZE", "1")]));
    assert_eq!(agent_store(&who(&alone), &alone), None, "nobody to meet");
    let by_hand = env(&with(&TORCHRUN, &[("TORCHELASTIC_RUN_ID", "")]));
    assert_eq!(agent_store(&who(&by_hand), &by_hand), None);
    assert!(refusal(&by_hand).contains("MASTER_PORT are not read"));
}

#[test]
fn open_mpi_meets_in_the_sessions_directory_of_one_host() {
    let directory = PathBuf::from("/tmp/ompi.13435/kirsh-prterun-a_b-13435@1");
    assert_eq!(place(&env(&OPEN_MPI)), Rendezvous::File(directory));
    let several = refusal(&env(&with(&OPEN_MPI, &[("OMPI_COMM_WORLD_LOCAL_SIZE", "1")])));
    assert!(several.contains("several hosts") && several.contains("mpirun -x"), "{several}");
    let older = refusal(&env(&with(&OPEN_MPI, &[("PMIX_SERVER_TMPDIR", "")])));
    assert!(older.contains("PMIX_SERVER_TMPDIR"), "{older}");
}

#[test]
fn hydra_and_pmi_say_why_they_know_no_place() {
    let several = refusal(&env(&with(&HYDRA, &[("MPI_LOCALNRANKS", "1")])));
    assert!(several.contains("several hosts") && several.contains("mpiexec -genv"), "{several}");
    let orphan = refusal(&env(&HYDRA));
    assert!(orphan.contains("hydra_pmi_proxy"), "{orphan}");
    let pmi = refusal(&env(&[("PMI_RANK", "1"), ("PMI_SIZE", "2")]));
    assert!(pmi.contains("hold no address"), "{pmi}");
}

#[test]
fn slurm_meets_at_the_first_node_of_the_step() {
    // 20000 + (1234567 + 4099 * 2) mod 10000.
    let at = |host: &str| Rendezvous::Tcp { host: host.to_owned(), port: 22_765 };
    assert_eq!(place(&env(&SLURM)), at("n004"));
    let job_alone = with(&SLURM, &[("SLURM_STEP_NODELIST", "")]);
    assert_eq!(place(&env(&job_alone)), at("n001"));
    let one_node = with(&SLURM, &[("SLURM_STEP_NUM_NODES", "1"), ("SLURM_STEP_NODELIST", "n004")]);
    assert_eq!(place(&env(&one_node)), at("127.0.0.1"));
    let other_step = with(&SLURM, &[("SLURM_STEP_ID", "3")]);
    assert_ne!(place(&env(&other_step)), at("n004"));
    let malformed = refusal(&env(&with(&SLURM, &[("SLURM_STEP_NODELIST", "n[1-")])));
    assert!(malformed.contains("SLURM_STEP_NODELIST is \"n[1-\""), "{malformed}");
    let bare: [&str; 2] = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"];
    assert!(refusal(&env(&with(&SLURM, &bare.map(|name| (name, ""))))).contains("no nodes"));
}

#[test]
fn only_tasks_of_a_slurm_step_are_ranks() {
    // The batch script is no step; its SLURM_PROCID is 0 and its SLURM_NTASKS the job's.
    let script: Variables<'_> = SLURM.into_iter().filter(|(n, _)| !n.contains("STEP")).collect();
    assert_eq!(who(&env(&script)).source, Source::Alone);
    let terminal = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PTY_PORT", "5")];
    assert_eq!(who(&env(&with(&SLURM, &terminal))).source, Source::Alone);
    assert_eq!(who(&env(&with(&SLURM, &terminal[..2]))).source, Source::Launcher("Slurm"));
    let older = with(&SLURM, &[("SLURM_STEP_NUM_TASKS", "")]);
    assert_eq!(who(&env(&older)).world_size, 8);
}
