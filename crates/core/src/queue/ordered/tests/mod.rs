mod random;
mod rows;
mod speed;
mod twin;
