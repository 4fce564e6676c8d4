// A sampler around a network of one's own, in Go. The network is exact: data are a Gaussian around a disc.
//
//	PKG_CONFIG_PATH=<prefix>/share/pkgconfig go run . sample.ppm
package main

// #cgo pkg-config: genfuse
// #include <genfuse.h>
// #include <stdlib.h>
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"unsafe"
)

const (
	side   = 64
	pixels = side * side
	numel  = 3 * pixels
)

func check(status C.genfuse_status) error {
	if status == C.GENFUSE_OK {
		return nil
	}
	return errors.New(C.GoString(C.genfuse_last_error()))
}

func meanOf(i int) float64 {
	channel, pixel := i/pixels, i%pixels
	dx, dy := float64(pixel%side-side/2), float64(pixel/side-side/2)
	if dx*dx+dy*dy < 400 {
		return 0.9 - 0.6*float64(channel)
	}
	return -0.5
}

// The noise in x where the signal's share is a.
func network(x []float32, a float64, output []float32) {
	variance := 0.05 * 0.05
	gain := variance * math.Sqrt(a) / (a*variance + 1 - a)
	for i, value := range x {
		mean := meanOf(i)
		x0 := mean + gain*(float64(value)-math.Sqrt(a)*mean)
		output[i] = float32((float64(value) - math.Sqrt(a)*x0) / math.Sqrt(1-a))
	}
}

func sample() ([]float32, error) {
	runtime.LockOSThread() // the message of an error is the thread's own
	defer runtime.UnlockOSThread()
	var schedule C.genfuse_schedule
	var levels [1000]float64
	C.genfuse_schedule_init(&schedule, C.size_t(unsafe.Sizeof(schedule)))
	if err := check(C.genfuse_schedule_alphas_cumprod(&schedule, (*C.double)(&levels[0]), 1000)); err != nil {
		return nil, err
	}
	shape := C.genfuse_shape{dtype: C.GENFUSE_FLOAT32, axes: 4}
	for axis, size := range []int{1, 3, side, side} {
		shape.size[axis] = C.int64_t(size)
	}
	name := C.CString("unipc")
	defer C.free(unsafe.Pointer(name))
	var sampler *C.genfuse_sampler
	if err := check(C.genfuse_sampler_create(&sampler, name, 12, &shape, nil)); err != nil {
		return nil, err
	}
	defer C.genfuse_sampler_free(sampler)
	x, output := make([]float32, numel), make([]float32, numel)
	seed := C.int64_t(5)
	if err := check(C.genfuse_sampler_begin(sampler, &seed, unsafe.Pointer(&x[0]))); err != nil {
		return nil, err
	}
	times := unsafe.Slice((*float64)(C.genfuse_sampler_timesteps(sampler)), int(C.genfuse_sampler_rows(sampler)))
	for i, t := range times {
		network(x, levels[int(t)], output)
		status := C.genfuse_sampler_step(sampler, C.int64_t(i), unsafe.Pointer(&x[0]), unsafe.Pointer(&output[0]))
		if err := check(status); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func main() {
	x, err := sample()
	if err == nil && len(os.Args) > 1 {
		var picture bytes.Buffer
		fmt.Fprintf(&picture, "P6\n%d %d\n255\n", side, side)
		for pixel := 0; pixel < pixels; pixel++ {
			for channel := 0; channel < 3; channel++ {
				value := math.Max(0, math.Min(255, float64(x[channel*pixels+pixel]+1)*127.5))
				picture.WriteByte(byte(value))
			}
		}
		err = os.WriteFile(os.Args[1], picture.Bytes(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
