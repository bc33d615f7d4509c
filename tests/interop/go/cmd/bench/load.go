package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	// Responses that one download asks for.
	download = 65_536
	// Uploads beside the small calls.
	uploads = 32
)

type client = grpc_testing.TestServiceClient

type figure struct {
	name  string
	value float64
}

var loads = map[string]func(context.Context, client, time.Duration) ([]figure, error){
	"unary-1":   unary(1),
	"unary-16":  unary(16),
	"unary-64":  unary(64),
	"unary-256": unary(256),
	"up-1k":     rate(up, kib),
	"up-16k":    rate(up, 16*kib),
	"up-1m":     rate(up, mib),
	"down-1k":   rate(down, kib),
	"down-16k":  rate(down, 16*kib),
	"down-1m":   rate(down, mib),
	"beside":    beside,
}

// measure runs a load twice, the first time to warm up, and says the figures of the second.
func measure(ctx context.Context, c client, row string, d time.Duration) error {
	load := loads[row]
	if load == nil {
		return fmt.Errorf("%s: no such row", row)
	}
	if _, err := load(ctx, c, warmUp); err != nil {
		return err
	}
	fmt.Println("measuring", row)
	start := time.Now()
	figures, err := load(ctx, c, d)
	if err != nil {
		return err
	}
	fmt.Print("measured ", row, " ", time.Since(start).Seconds(), " ")
	for i, f := range figures {
		if i > 0 {
			fmt.Print(";")
		}
		fmt.Printf("%s=%f", f.name, f.value)
	}
	fmt.Println()
	return nil
}

func small() *grpc_testing.SimpleRequest {
	return &grpc_testing.SimpleRequest{ResponseSize: 16, Payload: &grpc_testing.Payload{Body: make([]byte, 16)}}
}

func unary(inFlight int) func(context.Context, client, time.Duration) ([]figure, error) {
	return func(ctx context.Context, c client, d time.Duration) ([]figure, error) {
		start := time.Now()
		counts := make([]int, inFlight)
		err := all(inFlight, func(i int) error {
			for time.Since(start) < d {
				if _, err := c.UnaryCall(ctx, small()); err != nil {
					return err
				}
				counts[i]++
			}
			return nil
		})
		sum := 0
		for _, count := range counts {
			sum += count
		}
		return []figure{{"calls/s", float64(sum) / time.Since(start).Seconds()}}, err
	}
}

// all runs a function so many times at once.
func all(count int, f func(i int) error) error {
	errs := make([]error, count)
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() { errs[i] = f(i) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func rate(load func(context.Context, client, int, time.Duration) (float64, error), size int) func(context.Context, client, time.Duration) ([]figure, error) {
	return func(ctx context.Context, c client, d time.Duration) ([]figure, error) {
		value, err := load(ctx, c, size, d)
		return []figure{{"MiB/s", value}}, err
	}
}

func up(ctx context.Context, c client, size int, d time.Duration) (float64, error) {
	message := &grpc_testing.StreamingInputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, size)}}
	start := time.Now()
	stream, err := c.StreamingInputCall(ctx)
	if err != nil {
		return 0, err
	}
	count := 0
	for time.Since(start) < d {
		if err := stream.Send(message); err != nil {
			return 0, err
		}
		count++
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		return 0, err
	}
	return float64(count) * float64(size) / mib / time.Since(start).Seconds(), nil
}

func down(ctx context.Context, c client, size int, d time.Duration) (float64, error) {
	request := &grpc_testing.StreamingOutputCallRequest{}
	for range download {
		request.ResponseParameters = append(request.ResponseParameters, &grpc_testing.ResponseParameters{Size: int32(size)})
	}
	start := time.Now()
	bytes := 0
	for time.Since(start) < d {
		if err := func() error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := c.StreamingOutputCall(ctx, request)
			if err != nil {
				return err
			}
			for time.Since(start) < d {
				response, err := stream.Recv()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				bytes += len(response.GetPayload().GetBody())
			}
			return nil
		}(); err != nil {
			return 0, err
		}
	}
	return float64(bytes) / mib / time.Since(start).Seconds(), nil
}

func beside(ctx context.Context, c client, d time.Duration) ([]figure, error) {
	rates := make([]float64, uploads)
	var latencies []float64
	err := all(uploads+1, func(i int) (err error) {
		if i < uploads {
			rates[i], err = up(ctx, c, 16*kib, d)
			return err
		}
		start := time.Now()
		for time.Since(start) < d {
			called := time.Now()
			if _, err := c.UnaryCall(ctx, small()); err != nil {
				return err
			}
			latencies = append(latencies, float64(time.Since(called).Microseconds()))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.Float64s(latencies)
	at := func(percent int) float64 { return latencies[(len(latencies)-1)*percent/100] }
	sum := 0.0
	for _, rate := range rates {
		sum += rate
	}
	return []figure{{"call p50 us", at(50)}, {"call p99 us", at(99)}, {"uploads MiB/s", sum}}, nil
}
