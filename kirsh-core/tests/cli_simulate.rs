//! `kirsh simulate`: a line for each algorithm, and errors that say what could be meant.
