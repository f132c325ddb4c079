mod complexity;
mod random;
mod reference;
mod scenarios;
