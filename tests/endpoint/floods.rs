//! What strangers may do without a scrape feeling it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_passwords_keeps_no_scraper_out() {
    let (_directory, config, authority) = place();
    let hash = bcrypt::hash("right", 10).unwrap();
    let (daemon, address) = serve(
        &config,
        &format!("basic_auth_users: {{ prometheus: {hash} }}\n"),
        &[],
    );
    let url = format!("http://{address}/metrics");
    let scraper = client(&authority).build().unwrap();
    let right = Some(("prometheus", "right"));
    assert_eq!(status(&scraper, &url, right).await, 200);

    let floods: Vec<_> = (2..10u8)
        .map(|host| {
            let from = IpAddr::from([127, 0, 0, host]);
            let client = client(&authority).local_address(from).build().unwrap();
            let url = url.clone();
            tokio::spawn(async move {
                let mut answers = [0; 3];
                for guess in 0..100 {
                    let name = if guess % 2 == 0 {
                        "prometheus"
                    } else {
                        "nobody"
                    };
                    match status(&client, &url, Some((name, "wrong"))).await {
                        401 => answers[0] += 1,
                        429 => answers[1] += 1,
                        503 => answers[2] += 1,
                        other => panic!("{other}"),
                    }
                }
                answers
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !floods.iter().all(|flood| flood.is_finished()) {
        let begun = Instant::now();
        assert_eq!(status(&scraper, &url, right).await, 200);
        slowest = slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let newcomer = client(&authority)
        .local_address(IpAddr::from([127, 0, 1, 1]))
        .build()
        .unwrap();
    assert_eq!(
        status(&newcomer, &url, Some(("prometheus", "wrong"))).await,
        401
    );
    let mut total = [0; 3];
    for flood in floods {
        let answers = flood.await.unwrap();
        total
            .iter_mut()
            .zip(answers)
            .for_each(|(sum, count)| *sum += count);
    }
    println!(
        "800 guesses: {} checked, {} told to slow down, {} found no seat; slowest scrape {slowest:?}",
        total[0], total[1], total[2]
    );
    assert!(total[0] <= 8 * 30, "{total:?}");
    assert!(total[1] >= 400, "{total:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(daemon.terminate(PATIENCE).0.success());
}

/// What no client should send, by the number of the attempt.
fn malformed(number: usize) -> Vec<u8> {
    let long = "x".repeat(40_000);
    let many: String = (0..300).map(|at| format!("a{at}: b\r\n")).collect();
    match number % 12 {
        0 => b"\r\n\r\n\0\0\0\0".to_vec(),
        1 => b"GET\r\n\r\n".to_vec(),
        2 => b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        3 => format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes(),
        4 => format!("GET / HTTP/1.1\r\n{many}\r\n").into_bytes(),
        5 => b"POST /api/v1/deployments/absent/acknowledgements HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n".to_vec(),
        6 => b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".to_vec(),
        7 => b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET".to_vec(),
        8 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        9 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        10 => format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n").into_bytes(),
        // Bytes that are all over the place, and the same every time.
        _ => (0..200u64)
            .map(|at| (number as u64 + at).wrapping_mul(6_364_136_223_846_793_005) >> 56)
            .map(|byte| byte as u8)
            .collect(),
    }
}

/// Sends `count` of them from several threads, and reads what comes back.
async fn send_malformed(address: SocketAddr, count: usize) {
    const THREADS: usize = 8;
    let send = move |first: usize| {
        for number in (first..count).step_by(THREADS) {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            // It may hang up before it has read all of it.
            let _ = socket.write_all(&malformed(number));
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            match socket.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{number}"),
            }
            let is_alert = answer.first() == Some(&0x15);
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.is_empty()
                    || is_alert
                    || answer.starts_with("HTTP/1.") && !answer.contains(" 500 "),
                "{number}: {answer}"
            );
        }
    };
    let threads: Vec<_> = (0..THREADS)
        .map(|first| tokio::task::spawn_blocking(move || send(first)))
        .collect();
    for thread in threads {
        thread.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_malformed_requests_leave_it_as_it_was() {
    for (web, count) in [("", 10_000), (TLS, 2_000)] {
        let (_directory, config, authority) = place();
        let (daemon, address) = serve(&config, web, &[]);
        let begun = Instant::now();
        send_malformed(address, count).await;
        println!("{count} malformed requests in {:?}", begun.elapsed());
        let scheme = if web.is_empty() { "http" } else { "https" };
        let client = client(&authority).build().unwrap();
        let answer = client.get(format!("{scheme}://{address}/metrics")).send();
        let text = answer.await.unwrap().text().await.unwrap();
        let open = text
            .lines()
            .find_map(|line| line.strip_prefix("process_open_fds "))
            .unwrap();
        assert!(open.parse::<f64>().unwrap() < 100.0, "{open} open files");
        let (status, log) = daemon.terminate(PATIENCE);
        assert!(status.success());
        let log = log.join("\n");
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// As many connections as there may be.
pub(crate) const ALL: usize = 8;

/// Scrapes a daemon whose connections are all kept by those who wait with what they owe it.
pub(crate) async fn scrape_beside(client: &reqwest::Client, url: &str, what: &str) {
    for attempt in 0..3 {
        let answer = client.get(url).send().await;
        let status = answer.as_ref().map(|answer| answer.status().as_u16()).ok();
        assert_eq!(status, Some(200), "{what}, {attempt}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_withholds_the_body_of_a_request_keeps_no_scraper_out() {
    let (_directory, config, authority) = place();
    let (daemon, address) = serve(&config, "", &["--web.max-connections", &ALL.to_string()]);
    let withheld: Vec<_> = (0..ALL)
        .map(|_| {
            let mut socket = TcpStream::connect(address).unwrap();
            // Once it says that it goes on, the header has been read.
            let request = b"POST /-/reload HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
            socket.write_all(request).unwrap();
            let mut answer = [0; 25];
            socket.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
            socket
        })
        .collect();
    let anew = client(&authority).build().unwrap();
    scrape_beside(&anew, &format!("http://{address}/metrics"), "slow bodies").await;
    drop(withheld);
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "holds 2,000 sockets for a while, and measures time"]
async fn two_thousand_slow_clients_do_not_slow_a_scrape_down() {
    const SLOW: usize = 2_000;
    let (_directory, config, authority) = place();
    let (daemon, address) = serve(&config, "", &[]);
    let slow = std::thread::spawn(move || {
        let open = || {
            let mut socket = TcpStream::connect(address).ok()?;
            socket
                .set_write_timeout(Some(Duration::from_secs(1)))
                .ok()?;
            socket
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nX-Slow: ")
                .ok()?;
            Some(socket)
        };
        let mut sockets: Vec<Option<TcpStream>> = (0..SLOW).map(|_| open()).collect();
        let until = Instant::now() + Duration::from_secs(15);
        let mut reopened = 0;
        while Instant::now() < until {
            for socket in &mut sockets {
                // A byte now and then; whoever is hung up on comes back.
                let alive = socket
                    .as_mut()
                    .is_some_and(|socket| socket.write_all(b"x").is_ok());
                if !alive {
                    *socket = open();
                    reopened += 1;
                }
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        reopened
    });
    let url = format!("http://{address}/metrics");
    let anew = client(&authority).build().unwrap();
    let kept = client(&authority)
        .pool_max_idle_per_host(1)
        .build()
        .unwrap();
    let (mut took, mut closed) = (Vec::new(), 0);
    while !slow.is_finished() {
        for client in [&anew, &kept] {
            let begun = Instant::now();
            // In the middle of a burst of newcomers it may be among those that make room. It comes again, as
            // Prometheus' client does.
            let answer = match client.get(&url).send().await {
                Ok(answer) => answer,
                Err(_) => {
                    closed += 1;
                    client.get(&url).send().await.unwrap()
                }
            };
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
            took.push(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{} scrapes beside {SLOW} slow clients, who came back {} times: median {:?}, p99 {:?}, worst {:?}",
        took.len(),
        slow.join().unwrap(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(
        closed * 50 <= took.len(),
        "{closed} of {} closed",
        took.len()
    );
    assert!(at(0.99) < Duration::from_millis(100), "{:?}", at(0.99));
    // Machines that others use, too, have moments of their own.
    assert!(at(1.0) < Duration::from_secs(1), "{:?}", at(1.0));
    assert!(daemon.terminate(PATIENCE).0.success());
}
