// Load calls the interop test service as a plain client, for so many calls or so long, and says in
// one line of JSON how many succeeded and how the others ended.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"interop.example/peers/internal/peer"
)

type failure struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Kind string `json:"kind"`
	// Both in Unix milliseconds.
	Begun int64 `json:"begun"`
	Ended int64 `json:"ended"`
}

type report struct {
	OK       int64     `json:"ok"`
	Failures []failure `json:"failures"`
	// SlowestMS is how long the slowest call that succeeded took.
	SlowestMS int64 `json:"slowest_ms"`
}

type load struct {
	service grpc_testing.TestServiceClient
	mixed   bool
	pause   time.Duration
	limit   time.Duration

	next atomic.Int64
	mu   sync.Mutex
	report
}

func main() {
	addr := flag.String("server", "", "the address of the server or gateway")
	name := flag.String("name", "", "the x-tunnel-target of the calls")
	calls := flag.Int64("calls", 0, "how many calls; 0 for as many as there is time for")
	span := flag.Duration("for", 0, "how long; 0 for until all calls are made")
	atOnce := flag.Int("parallel", 8, "calls at once")
	mixed := flag.Bool("mixed", false, "streams beside unary calls")
	pause := flag.Duration("pause", 0, "between two calls of a worker")
	hold := flag.Int("hold", 0, "in place of all that, begin so many calls, say `held`, and keep them open until told to stop")
	limit := flag.Duration("deadline", 20*time.Second, "of each call")
	peer.Check(func(ctx context.Context) error {
		if *addr == "" || *calls == 0 && *span == 0 && *hold == 0 {
			return errors.New("-server, and -calls, -for or -hold, are required")
		}
		conn, err := peer.Dial(*addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if *name != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-tunnel-target", *name)
		}
		l := load{service: grpc_testing.NewTestServiceClient(conn), mixed: *mixed, pause: *pause, limit: *limit}
		if *hold > 0 {
			return l.hold(ctx, *hold)
		}
		l.Failures = []failure{}
		end := time.Now().Add(*span)
		var running sync.WaitGroup
		for range *atOnce {
			running.Add(1)
			go func() {
				defer running.Done()
				for {
					seed := l.next.Add(1) - 1
					if *calls > 0 && seed >= *calls || *span > 0 && time.Now().After(end) {
						return
					}
					l.one(ctx, seed)
					time.Sleep(l.pause)
				}
			}()
		}
		running.Wait()
		line, err := json.Marshal(l.report)
		fmt.Println("report", string(line))
		return err
	})
}

// hold begins calls that stay open until the program is told to stop, or one of them ends.
func (l *load) hold(ctx context.Context, calls int) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	ended := make(chan error, calls)
	for range calls {
		stream, err := l.service.FullDuplexCall(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(sized(1)); err != nil {
			return err
		}
		for range 3 {
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
		go func() {
			_, err := stream.Recv()
			ended <- err
		}()
	}
	fmt.Println("held")
	err := <-ended
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("a call that is held ended with %w", err)
}

func (l *load) one(ctx context.Context, seed int64) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	kind, call := "unary", l.unary
	if l.mixed {
		switch seed % 4 {
		case 1:
			kind, call = "upload", l.upload
		case 2:
			kind, call = "download", l.download
		case 3:
			kind, call = "duplex", l.duplex
		}
	}
	begun := time.Now()
	err := call(ctx, int(seed%5000))
	ended := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.OK++
		l.SlowestMS = max(l.SlowestMS, ended.Sub(begun).Milliseconds())
		return
	}
	s := status.Convert(err)
	l.Failures = append(l.Failures, failure{s.Code().String(), s.Message(), kind, begun.UnixMilli(), ended.UnixMilli()})
}

func sized(size int) *grpc_testing.StreamingOutputCallRequest {
	return &grpc_testing.StreamingOutputCallRequest{
		ResponseParameters: []*grpc_testing.ResponseParameters{{Size: int32(size)}, {Size: int32(size)}, {Size: int32(size)}},
	}
}

func (l *load) unary(ctx context.Context, size int) error {
	req := &grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: make([]byte, size)}, ResponseSize: int32(size)}
	resp, err := l.service.UnaryCall(ctx, req)
	return checked(err, len(resp.GetPayload().GetBody()), size)
}

func (l *load) upload(ctx context.Context, size int) error {
	stream, err := l.service.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	req := &grpc_testing.StreamingInputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, size)}}
	for range 3 {
		// The end of the call says why it is over.
		if stream.Send(req) != nil {
			break
		}
	}
	resp, err := stream.CloseAndRecv()
	return checked(err, int(resp.GetAggregatedPayloadSize()), 3*size)
}

func (l *load) download(ctx context.Context, size int) error {
	stream, err := l.service.StreamingOutputCall(ctx, sized(size))
	if err != nil {
		return err
	}
	return received(stream, size)
}

func (l *load) duplex(ctx context.Context, size int) error {
	stream, err := l.service.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(sized(size)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return received(stream, size)
}

func received(stream grpc.ServerStreamingClient[grpc_testing.StreamingOutputCallResponse], size int) error {
	sum := 0
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return checked(nil, sum, 3*size)
		}
		if err != nil {
			return err
		}
		sum += len(resp.GetPayload().GetBody())
	}
}

func checked(err error, got, want int) error {
	if err == nil && got != want {
		return fmt.Errorf("%d bytes in place of %d", got, want)
	}
	return err
}
