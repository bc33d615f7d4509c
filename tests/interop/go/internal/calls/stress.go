package calls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	// overhead is more than a message has around its payload.
	overhead = 64
)

// Sizes sends messages of sizes from nothing to the largest that gRPC takes by default, both ways,
// and streams 64 MiB each way.
func (s Service) Sizes(ctx context.Context) error {
	for seed, size := range []int{0, 1, 64 * kib, mib, 4*mib - overhead} {
		if err := s.Unary(ctx, seed, size); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	const count = 64
	up, err := s.Client.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	payload := &grpc_testing.Payload{Body: make([]byte, mib)}
	for range count {
		if err := up.Send(&grpc_testing.StreamingInputCallRequest{Payload: payload}); err != nil {
			return fmt.Errorf("uploading: %w", err)
		}
	}
	sum, err := up.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("uploading: %w", err)
	}
	if got := sum.GetAggregatedPayloadSize(); got != count*mib {
		return fmt.Errorf("the server received %d bytes of %d", got, count*mib)
	}
	down, err := s.Client.StreamingOutputCall(ctx, Download(count, mib))
	if err != nil {
		return err
	}
	return drain(down, count, mib)
}

// Download asks for so many responses of a size.
func Download(count, size int) *grpc_testing.StreamingOutputCallRequest {
	req := &grpc_testing.StreamingOutputCallRequest{}
	for range count {
		req.ResponseParameters = append(req.ResponseParameters, &grpc_testing.ResponseParameters{Size: int32(size)})
	}
	return req
}

func drain(stream interface {
	Recv() (*grpc_testing.StreamingOutputCallResponse, error)
}, count, size int) error {
	for i := range count {
		resp, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("after %d responses of %d: %w", i, count, err)
		}
		if got := len(resp.GetPayload().GetBody()); got != size {
			return fmt.Errorf("a response has %d bytes, not %d", got, size)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the end is %v", err)
	}
	return nil
}

// SlowReader begins a bidirectional call whose responses nobody reads, and makes ten uploads beside
// it: they must all end before it is read.
func (s Service) SlowReader(ctx context.Context) error {
	const count, size = 100, 64 * kib
	slow, err := s.Client.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	if err := slow.Send(Download(count, size)); err != nil {
		return err
	}
	if err := slow.CloseSend(); err != nil {
		return err
	}
	var running sync.WaitGroup
	errs := make([]error, 10)
	for i := range errs {
		running.Add(1)
		go func() {
			defer running.Done()
			errs[i] = s.ClientStream(ctx, i, mib, func() {})
		}()
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return drain(slow, count, size)
}

// Soak makes so many calls of all kinds, 50 at a time, some of which fail or are cancelled.
func (s Service) Soak(ctx context.Context, calls int) error {
	const atOnce = 50
	var running sync.WaitGroup
	errs := make([]error, atOnce)
	for worker := range atOnce {
		running.Add(1)
		go func() {
			defer running.Done()
			for seed := worker; seed < calls; seed += atOnce {
				if err := s.soak(ctx, seed); err != nil {
					errs[worker] = fmt.Errorf("call %d: %w", seed, err)
					return
				}
			}
		}()
	}
	running.Wait()
	return errors.Join(errs...)
}

func (s Service) soak(ctx context.Context, seed int) error {
	nothing := func() {}
	// A worker's seeds are the same to 50, so that it must not be the last digit.
	switch seed / 50 % 10 {
	case 0:
		return s.Fail(ctx, seed)
	case 1:
		return s.Cancel(ctx, seed, 100, nothing)
	case 2:
		return s.Bidi(ctx, seed, 100, nothing)
	case 3:
		return s.ClientStream(ctx, seed, 100, nothing)
	case 4:
		return s.ServerStream(ctx, seed, 100)
	default:
		return s.Unary(ctx, seed, seed%1000)
	}
}

// Trickle streams empty and one-byte messages for a while, in two calls, and expects that every one
// arrived.
func (s Service) Trickle(ctx context.Context, span time.Duration) error {
	until := time.Now().Add(span)
	errs := make([]error, 2)
	var running sync.WaitGroup
	for size := range errs {
		running.Add(1)
		go func() {
			defer running.Done()
			errs[size] = s.trickle(ctx, size, until)
		}()
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.Unary(ctx, 1, 1)
}

func (s Service) trickle(ctx context.Context, size int, until time.Time) error {
	stream, err := s.Client.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	req := &grpc_testing.StreamingInputCallRequest{}
	if size > 0 {
		req.Payload = &grpc_testing.Payload{Body: make([]byte, size)}
	}
	sent := 0
	for ; time.Now().Before(until); sent++ {
		if err := stream.Send(req); err != nil {
			return fmt.Errorf("after %d messages of %d bytes: %w", sent, size, err)
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("after %d messages of %d bytes: %w", sent, size, err)
	}
	if got := int(resp.GetAggregatedPayloadSize()); got != sent*size {
		return fmt.Errorf("%d of %d bytes arrived", got, sent*size)
	}
	fmt.Printf("%d messages of %d bytes\n", sent, size)
	return nil
}

// InFlight begins calls, calls begun, and waits until the server takes no new ones. What it has
// begun must then still come to its end.
func (s Service) InFlight(ctx context.Context, begun func()) error {
	const calls = 10
	refused := make(chan struct{})
	errs := make([]error, calls)
	var started, running sync.WaitGroup
	for i := range calls {
		var once sync.Once
		arrive := func() { once.Do(started.Done) }
		started.Add(1)
		running.Add(1)
		go func() {
			defer running.Done()
			// A call that failed early must not keep the others waiting.
			defer arrive()
			errs[i] = s.Bidi(ctx, i, 1000*i, func() { arrive(); <-refused })
		}()
	}
	started.Wait()
	begun()
	for {
		_, err := s.Client.EmptyCall(ctx, &grpc_testing.Empty{})
		if status.Code(err) == codes.Unavailable {
			break
		}
		if err != nil {
			return fmt.Errorf("a new call ended with %w", err)
		}
	}
	close(refused)
	running.Wait()
	return errors.Join(errs...)
}
