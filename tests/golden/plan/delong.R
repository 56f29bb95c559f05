# Rscript delong.R > delong.json: DeLong's variances and covariance of two binormal AUCs, by pROC 1.18.0.
# Scores of the two models correlate by 0.5 within each class; AUCs 0.85 and 0.75.
suppressMessages(library(pROC))
set.seed(7)
n <- 1000; r <- 0.5; runs <- 200
y <- rep(c(1, 0), each = n)
one <- function(i) {
  a <- rnorm(2 * n)
  b <- r * a + sqrt(1 - r^2) * rnorm(2 * n)
  a <- a + y * sqrt(2) * qnorm(0.85)
  b <- b + y * sqrt(2) * qnorm(0.75)
  A <- roc(y, a, quiet = TRUE, direction = "<"); B <- roc(y, b, quiet = TRUE, direction = "<")
  c(var(A), var(B), cov(A, B))
}
m <- rowMeans(sapply(seq_len(runs), one))
cat(sprintf('{"per_class": %d, "runs": %d, "var_a": %.8g, "var_b": %.8g, "cov": %.8g}\n', n, runs, m[1], m[2], m[3]))
