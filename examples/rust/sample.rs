// A sampler around a network of one's own, in Rust, without a crate. The network is exact: data are a Gaussian
// around a disc.
//
//     rustc --edition 2021 -L <folder of libgenfuse.so> sample.rs && ./sample sample.ppm
use std::ffi::{c_char, c_void, CStr};
use std::{env, fs, ptr};

const SIDE: usize = 64;
const PIXELS: usize = SIDE * SIDE;
const NUMEL: usize = 3 * PIXELS;

#[repr(C)]
struct Shape {
    dtype: i32,
    axes: i32,
    size: [i64; 16],
}

#[repr(C)]
struct Sampler {
    _private: [u8; 0],
}

#[link(name = "genfuse")]
extern "C" {
    fn genfuse_last_error() -> *const c_char;
    fn genfuse_sampler_create(
        sampler: *mut *mut Sampler,
        name: *const c_char,
        steps: i64,
        shape: *const Shape,
        options: *const c_void,
    ) -> i32;
    fn genfuse_sampler_free(sampler: *mut Sampler);
    fn genfuse_sampler_rows(sampler: *const Sampler) -> i64;
    fn genfuse_sampler_timesteps(sampler: *const Sampler) -> *const f64;
    fn genfuse_sampler_begin(sampler: *mut Sampler, seeds: *const i64, x: *mut f32) -> i32;
    fn genfuse_sampler_step(sampler: *mut Sampler, i: i64, x: *mut f32, output: *const f32) -> i32;
}

fn check(status: i32) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    Err(unsafe { CStr::from_ptr(genfuse_last_error()) }.to_string_lossy().into_owned())
}

struct Owned(*mut Sampler);

impl Drop for Owned {
    fn drop(&mut self) {
        unsafe { genfuse_sampler_free(self.0) }
    }
}

fn mean_of(i: usize) -> f64 {
    let (channel, pixel) = (i / PIXELS, i % PIXELS);
    let dx = (pixel % SIDE) as f64 - SIDE as f64 / 2.0;
    let dy = (pixel / SIDE) as f64 - SIDE as f64 / 2.0;
    if dx * dx + dy * dy < 400.0 { 0.9 - 0.6 * channel as f64 } else { -0.5 }
}

/// The noise in x at time t = 1000 sigma of the straight flow, less the data: flow's velocity.
fn network(x: &[f32], t: f64, output: &mut [f32]) {
    let sigma = t / 1000.0;
    let (alpha, variance) = (1.0 - sigma, 0.05 * 0.05);
    let gain = variance * alpha / (alpha * alpha * variance + sigma * sigma);
    for (i, (&value, out)) in x.iter().zip(output.iter_mut()).enumerate() {
        let mean = mean_of(i);
        let x0 = mean + gain * (value as f64 - alpha * mean);
        *out = ((value as f64 - alpha * x0) / sigma - x0) as f32;
    }
}

#[repr(C)]
struct Schedule {
    size: usize,
    name: *const c_char,
    rest: [u64; 16], // numbers that genfuse_schedule_init writes
}

#[repr(C)]
struct Options {
    size: usize,
    schedule: *const Schedule,
    rest: [u64; 32],
}

extern "C" {
    fn genfuse_schedule_init(schedule: *mut Schedule, size: usize);
    fn genfuse_sampler_options_init(options: *mut Options, size: usize);
}

fn sample() -> Result<Vec<f32>, String> {
    let mut shape = Shape { dtype: 0, axes: 4, size: [0; 16] };
    shape.size[..4].copy_from_slice(&[1, 3, SIDE as i64, SIDE as i64]);
    let mut schedule = Schedule { size: 0, name: ptr::null(), rest: [0; 16] };
    let mut options = Options { size: 0, schedule: ptr::null(), rest: [0; 32] };
    let mut sampler = Owned(ptr::null_mut());
    let (mut x, mut output) = (vec![0f32; NUMEL], vec![0f32; NUMEL]);
    unsafe {
        genfuse_schedule_init(&mut schedule, std::mem::size_of::<Schedule>());
        schedule.name = c"flow".as_ptr();
        genfuse_sampler_options_init(&mut options, std::mem::size_of::<Options>());
        options.schedule = &schedule;
        let made = (&options as *const Options).cast();
        check(genfuse_sampler_create(&mut sampler.0, c"flow_heun".as_ptr(), 10, &shape, made))?;
        check(genfuse_sampler_begin(sampler.0, [11i64].as_ptr(), x.as_mut_ptr()))?;
        for i in 0..genfuse_sampler_rows(sampler.0) {
            network(&x, *genfuse_sampler_timesteps(sampler.0).offset(i as isize), &mut output);
            check(genfuse_sampler_step(sampler.0, i, x.as_mut_ptr(), output.as_ptr()))?;
        }
    }
    Ok(x)
}

fn main() -> Result<(), String> {
    let x = sample()?;
    let Some(path) = env::args().nth(1) else { return Ok(()) };
    let mut picture = format!("P6\n{SIDE} {SIDE}\n255\n").into_bytes();
    for pixel in 0..PIXELS {
        picture.extend((0..3).map(|channel| ((x[channel * PIXELS + pixel] + 1.0) * 127.5) as u8));
    }
    fs::write(path, picture).map_err(|error| error.to_string())
}
