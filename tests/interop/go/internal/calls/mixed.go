package calls

import (
	"context"
	"errors"
	"sync"
)

// beyondWindow is a message that takes several windows of 64 KiB.
const beyondWindow = 200_000

// Large sends messages that are larger than a window, both ways, in a unary and in a bidi call.
func (s Service) Large(ctx context.Context) error {
	if err := s.Unary(ctx, 1_000_001, beyondWindow); err != nil {
		return err
	}
	return s.Bidi(ctx, 1_000_002, beyondWindow, func() {})
}

// Mixed runs calls of all kinds at once. One is cancelled and one fails while the client streams
// and the bidirectional calls are in their middle; all others must not notice.
func (s Service) Mixed(ctx context.Context, calls int) error {
	if calls < 6 {
		return errors.New("mixed: at least 6 calls are needed for every kind and both ends")
	}
	var running, begun sync.WaitGroup
	errs := make([]error, calls)
	for i := range calls {
		var once sync.Once
		arrive := func() { once.Do(begun.Done) }
		begun.Add(1)
		running.Add(1)
		go func() {
			defer running.Done()
			// A call that failed early must not keep the others waiting.
			defer arrive()
			errs[i] = s.one(ctx, i, arrive, begun.Wait)
		}()
	}
	running.Wait()
	return errors.Join(errs...)
}

// one makes call i of a mixed set. Only calls that leave no unread data behind wait for the others:
// without flow control, unread data stops a whole tunnel.
func (s Service) one(ctx context.Context, i int, arrive, wait func()) error {
	size := 1 + 977*i
	if i%7 == 6 {
		size = beyondWindow
	}
	pause := func() { arrive(); wait() }
	switch {
	case i == 0:
		return s.Cancel(ctx, i, size, pause)
	case i == 1:
		pause()
		return s.Fail(ctx, i)
	case i%4 == 0:
		return s.Bidi(ctx, i, size, pause)
	case i%4 == 1:
		return s.ClientStream(ctx, i, size, pause)
	case i%4 == 2:
		arrive()
		return s.ServerStream(ctx, i, size)
	default:
		arrive()
		return s.Unary(ctx, i, size)
	}
}
