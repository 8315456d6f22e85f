(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 32) "{\"words\":")
  (func (export "_start")
    (local $end i32) (local $at i32) (local $inside i32) (local $words i32) (local $byte i32)
    ;; stdin to 1024 and after
    (local.set $end (i32.const 1024))
    (block $eof
      (loop $more
        (i32.store (i32.const 0) (local.get $end))
        (i32.store (i32.const 4) (i32.sub (i32.const 131072) (local.get $end)))
        (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 1))))
        (br_if $eof (i32.eqz (i32.load (i32.const 8))))
        (local.set $end (i32.add (local.get $end) (i32.load (i32.const 8))))
        (br $more)))
    ;; it must be {"text":"…"} and not fill the memory
    (if (i64.ne (i64.load (i32.const 1024)) (i64.const 0x3a2274786574227b)) (then (call $exit (i32.const 2))))
    (if (i32.ne (i32.load8_u (i32.const 1032)) (i32.const 34)) (then (call $exit (i32.const 2))))
    (if (i32.eq (local.get $end) (i32.const 131072)) (then (call $exit (i32.const 3))))
    (local.set $at (i32.const 1033))
    (local.set $end (i32.sub (local.get $end) (i32.const 2)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $byte (i32.load8_u (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        ;; an escape: \n, \r and \t are blanks, any other is a letter
        (if (i32.eq (local.get $byte) (i32.const 92))
          (then
            (local.set $byte (i32.load8_u (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (if (i32.or (i32.or (i32.eq (local.get $byte) (i32.const 110)) (i32.eq (local.get $byte) (i32.const 114)))
                        (i32.eq (local.get $byte) (i32.const 116)))
              (then (local.set $byte (i32.const 32)))
              (else (local.set $byte (i32.const 120))))))
        (if (i32.eq (local.get $byte) (i32.const 32))
          (then (local.set $inside (i32.const 0)))
          (else
            (local.set $words (i32.add (local.get $words) (i32.eqz (local.get $inside))))
            (local.set $inside (i32.const 1))))
        (br $next)))
    ;; digits from 62 backwards, then }
    (i32.store8 (i32.const 63) (i32.const 125))
    (local.set $at (i32.const 63))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $words) (i32.const 10))))
      (local.set $words (i32.div_u (local.get $words) (i32.const 10)))
      (br_if $digit (local.get $words)))
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 9))
    (i32.store (i32.const 8) (local.get $at))
    (i32.store (i32.const 12) (i32.sub (i32.const 64) (local.get $at)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 16)))))
